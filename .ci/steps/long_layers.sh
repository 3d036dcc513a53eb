#!/usr/bin/env bash
# Whole layers of the family on the CUDA emulator, all of their blocks instead of some.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SUITE_LIMIT=5h
test_venv
parallel_suite "$clone/.venv/bin/python" --full -m whole_layer tests/cuda/test_kernels.py
