#!/usr/bin/env bash
# Training on up to four hosts under torchrun, of which some are killed: those left go on, or say the line that resumes.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

test_venv
suite "$clone/.venv/bin/python" -s -m cluster tests/train/test_cluster.py
