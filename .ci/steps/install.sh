#!/usr/bin/env bash
# README's first command.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readme_command install | tee "$scratch/install.log"
grep -q 'alexnet2012' "$scratch/install.log"
"$clone/.venv/bin/python" -c 'import importlib.util, sys; sys.exit(bool(importlib.util.find_spec("torch")))'
