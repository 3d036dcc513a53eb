#!/usr/bin/env bash
# Whole layers of the family on the CUDA emulator: some of their blocks with the race check, then all of their blocks.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SUITE_LIMIT=5h
test_venv
bin=$clone/.venv/bin
"$bin/cmake" -S "$clone/cuda_emulator" -B "$scratch/emulator-race" -DFASTALEX_EMULATOR_CHECK=race
"$bin/cmake" --build "$scratch/emulator-race" -j "$(nproc)" --target fastalex_emulated
FASTALEX_EMULATOR_LIBRARY=$scratch/emulator-race/libfastalex_emulated.so parallel_suite "$bin/python" \
  -m whole_layer tests/cuda/test_kernels.py
parallel_suite "$bin/python" --full -m whole_layer tests/cuda/test_kernels.py
