#!/usr/bin/env bash
# The quick tier of the suite: tests that take less than 0.7 s of CPU time, at least one of every kind.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

test_venv
parallel_suite "$clone/.venv/bin/python" -m "not slow"
