#!/usr/bin/env bash
# The HTTP service beside 200 hostile clients for a minute; prints a table of what became of honest requests.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

test_venv
(cd "$clone" && timeout "$SUITE_LIMIT" .venv/bin/python -m tests.serve.hostile_clients --hostile 200 --seconds 60)
