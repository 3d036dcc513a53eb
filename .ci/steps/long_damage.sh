#!/usr/bin/env bash
# Damaged files, 2,000 times a format, ten times as often as in the suite.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SUITE_LIMIT=2h
test_venv
parallel_suite "$clone/.venv/bin/python" --mutations 2000 tests/fuzz
