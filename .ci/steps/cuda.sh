#!/usr/bin/env bash
# A wheel with the CUDA library: it exports one symbol and says why it cannot run here.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

find_nvcc
venv tools
CUDACXX=$nvcc "$scratch/tools/bin/pip" wheel -q --no-deps -w "$scratch/cuda" "$clone" -C cmake.define.FASTALEX_DEVICE=rtx30
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
if ! command -v nvidia-smi >/dev/null; then
  refused 'NVIDIA driver' "$scratch/gpu/bin/fastalex" classify --device cuda --weights digits "$clone"/examples/digits/*.png
  # All that the CUDA runtime asks of a driver that is too old, here of CUDA 10.2.
  mkdir "$scratch/driver"
  gcc -shared -fPIC -o "$scratch/driver/libcuda.so.1" -x c - <<'EOF'
int cuInit(unsigned flags) { return flags != 0; }
int cuDriverGetVersion(int* version) { *version = 10020; return 0; }
EOF
  refused 'the NVIDIA driver supports CUDA 10.2, this library needs' env LD_LIBRARY_PATH="$scratch/driver" \
    "$scratch/gpu/bin/fastalex" classify --device cuda --weights digits "$clone"/examples/digits/*.png
fi
refused 'sm_53' env CUDACXX="$nvcc" "$scratch/tools/bin/pip" wheel -q --no-deps -w "$scratch/cuda" "$clone" \
  -C cmake.define.FASTALEX_DEVICE=nano -C cmake.define.FASTALEX_CUDA=ON
