#!/usr/bin/env bash
# The CUDA kernels compiled for the architectures that a wheel has and no device file: without a spill there either.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

kernels_venv
(cd "$clone" && "$scratch/kernels/bin/python" -m tools.check_cuda_kernels --arch 61,70)
