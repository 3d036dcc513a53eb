#!/usr/bin/env bash
# All C++ of a host with the oldest gcc that is packaged here and with clang: C++14 to the letter, and not one warning.
# (The gcc 7.5 of the Jetson Nano and TX2 is packaged nowhere. For their CUDA 10.2: python -m tools.check_board_compilers.)
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

build() { # FOLDER COMPILER CMAKE_ARGUMENT...
  local folder=$1 compiler=$2
  shift 2
  "$scratch/tools/bin/cmake" -S "$clone" -B "$folder" -G Ninja -DCMAKE_MAKE_PROGRAM="$scratch/tools/bin/ninja" \
    -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_CXX_FLAGS=-pedantic -DFASTALEX_WERROR=ON "$@"
  "$scratch/tools/bin/cmake" --build "$folder"
}

# nvcc passes on C++ that is not pedantic, so the backends are read and not built. The kernels with their host code are
# read as the emulator has them.
read_backends() { # COMPILER
  local file files strict=("$1" -std=c++14 -Wall -Wextra -pedantic -Werror -fsyntax-only -Icsrc -Icsrc/include)
  mapfile -t files < <(find csrc/cuda csrc/tensorrt -name '*.cpp' -not -path '*/adapters/*')
  ((${#files[@]}))
  for file in "${files[@]}"; do
    "${strict[@]}" -isystem "$(dirname "$nvcc")/../include" -isystem "$tensorrt" '-DFASTALEX_TENSORRT_KERNELS=""' "$file"
  done
  for file in csrc/cuda/candidates/*.cu; do
    "${strict[@]}" -x c++ -Icuda_emulator/src -DFASTALEX_CUDA_EMULATOR '-DFASTALEX_BACKEND_NAME=""' \
      -Wno-unknown-pragmas "$file"
  done
  echo "${#files[@]} files of the CUDA and TensorRT backends, and the kernels"
}

retry sudo apt-get install -yq clang g++-11
build_wheel
venv tools cmake ninja
venv cases "$wheel"
"$scratch/cases/bin/python" "$clone/tests/support/cpp/write_cases.py" "$scratch/cases.bin"
find_nvcc # for its headers
find_tensorrt_headers
tensorrt=$(dirname "$(find "$headers" -name NvInfer.h | sort -V | tail -n 1)")
for compiler in g++-11 clang++; do
  say "$compiler: the library"
  build "$scratch/$compiler/library" "$compiler"
  "$scratch/$compiler/library/check_ops" "$scratch/cases.bin"
  say "$compiler: the Python module"
  CXX=$compiler "$scratch/tools/bin/pip" wheel -q --no-deps -w "$scratch/$compiler" "$clone" \
    -C cmake.define.CMAKE_CXX_FLAGS=-pedantic -C cmake.define.FASTALEX_WERROR=ON
  say "$compiler: the GPUs' backends"
  (cd "$clone" && read_backends "$compiler")
  (cd "$clone" && CXX=$compiler CXXFLAGS=-pedantic CUDACXX=$nvcc PATH=$scratch/tools/bin:$PATH \
    python3 -m tools.check_tensorrt_headers --headers "$headers")
done

if [[ $x86 == no ]]; then
  echo "not x86-64: the compilers above were those of the boards' processors"
  exit 0
fi
retry sudo apt-get install -yq qemu-user g++-11-aarch64-linux-gnu
for compiler in aarch64-linux-gnu-g++-11 clang++; do
  say "$compiler: the library for aarch64"
  build "$scratch/$compiler/aarch64" "$compiler" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_CXX_COMPILER_TARGET=aarch64-linux-gnu
  qemu-aarch64 -L /usr/aarch64-linux-gnu "$scratch/$compiler/aarch64/check_ops" "$scratch/cases.bin"
done
