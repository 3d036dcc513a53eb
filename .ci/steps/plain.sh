#!/usr/bin/env bash
# The C library and its programs without Python, natively, on an emulated older x86-64, on aarch64.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

configure_and_build() { # FOLDER CMAKE_ARGUMENT...
  local folder=$1
  shift
  "$scratch/tools/bin/cmake" -S "$clone" -B "$folder" -G Ninja -DFASTALEX_WERROR=ON \
    -DCMAKE_MAKE_PROGRAM="$scratch/tools/bin/ninja" "$@"
  "$scratch/tools/bin/cmake" --build "$folder"
}

# An inline function that the linker merges with another object's copy would run this ISA's instructions on an older
# processor: each per-ISA object defines its table and nothing else that is visible.
check_isa_symbols() { # FOLDER NM
  local object symbols count=0
  while IFS= read -r object; do
    symbols=$("$2" --defined-only --extern-only "$object" | awk '{print $NF}')
    if [[ ! $symbols =~ ^fastalex_cpu_kernels_[a-z0-9]+$ ]]; then
      printf '%s defines more than its table:\n%s\n' "$object" "$symbols" >&2
      return 1
    fi
    count=$((count + 1))
  done < <(find "$1/CMakeFiles" -path '*fastalex_isa_*' -name 'isa_kernels*.o')
  echo "$count per-ISA objects, one symbol each"
  ((count > 0))
}

# The machine may lack AMX, so the kernels that use it may have been tested by their twin alone: its instructions are
# there at least, unless the compiler does not know them.
check_tiles() { # FOLDER
  local object instructions name
  object=$(find "$1/CMakeFiles" -path '*fastalex_isa_v4amx*' -name 'isa_kernels*.o')
  if [[ -z $object ]]; then return 0; fi
  instructions=$(objdump -d --no-show-raw-insn "$object")
  for name in ldtilecfg tileloadd tdpbusd tdpbf16ps tilestored tilerelease; do
    if ! grep -qw "$name" <<<"$instructions"; then
      printf '%s has no %s\n' "$object" "$name" >&2
      return 1
    fi
  done
}

build_wheel
venv tools cmake ninja
venv cases "$wheel"
python=$scratch/cases/bin/python
cases=$scratch/cases.bin
native=$scratch/native
"$python" "$clone/tests/support/cpp/write_cases.py" "$cases"
refused 'developer.nvidia.com/tensorrt' "$scratch/tools/bin/cmake" -S "$clone" -B "$scratch/refused" \
  -DFASTALEX_TENSORRT=ON

configure_and_build "$native"
check_isa_symbols "$native" nm
check_tiles "$native"
"$native/check_ops" "$cases"
"$python" "$clone/examples/cpp/export.py" --weights digits "$clone/examples/digits/digit-3-sample-0003.png" \
  --output "$scratch/exported"
"$native/classify" "$scratch/exported" | tee "$scratch/classified"
[[ $(head -n 1 "$scratch/classified") == "3 "* ]]

if [[ $x86 == no ]]; then
  echo "not x86-64: no emulated processors"
  exit 0
fi
retry sudo apt-get install -yq qemu-user g++-aarch64-linux-gnu
# Nehalem has SSE4.2 and nothing newer, so v2 must be chosen unasked and v3 refused.
qemu-x86_64 -cpu Nehalem "$native/check_ops" "$cases" | tee "$scratch/nehalem"
grep -q '^isa v2: ' "$scratch/nehalem"
qemu-x86_64 -cpu Nehalem -E FASTALEX_CPU_ISA=v2 "$native/classify" "$scratch/exported"
refused 'this processor does not have it' qemu-x86_64 -cpu Nehalem -E FASTALEX_CPU_ISA=v3 "$native/check_ops" "$cases"

configure_and_build "$scratch/aarch64" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++
check_isa_symbols "$scratch/aarch64" aarch64-linux-gnu-nm
qemu-aarch64 -L /usr/aarch64-linux-gnu "$scratch/aarch64/check_ops" "$cases" | tee "$scratch/neon"
grep -q '^isa neon: ' "$scratch/neon"
qemu-aarch64 -L /usr/aarch64-linux-gnu "$scratch/aarch64/classify" "$scratch/exported"
