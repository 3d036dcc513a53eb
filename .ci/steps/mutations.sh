#!/usr/bin/env bash
# Faults planted in the CUDA kernels: the tests on the emulator must find each.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

kernels_venv
bin=$scratch/kernels/bin
(cd "$clone" && PATH=$bin:$PATH timeout "$SUITE_LIMIT" "$bin/python" -m cuda_emulator.mutations)
