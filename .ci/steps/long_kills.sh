#!/usr/bin/env bash
# Training killed at 200 random moments and resumed, where the suite has three, with all schemes of several processes.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

test_venv
suite "$clone/.venv/bin/python" -s --kills 200 tests/train/test_interruptions.py
