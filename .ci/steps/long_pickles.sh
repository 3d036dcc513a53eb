#!/usr/bin/env bash
# 2,000 pickles of networks, metrics and extractors through spawned workers, eighty times as many as in the suite.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

test_venv
suite "$clone/.venv/bin/python" -s --pickles 2000 tests/model/test_many_pickles.py
