#!/usr/bin/env bash
# The quick tier of the suite: all that takes no 0.7 s of a processor, at least one test of every kind.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

test_venv
suite "$clone/.venv/bin/python" -n auto --dist worksteal -m "not slow"
