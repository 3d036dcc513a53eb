#!/usr/bin/env bash
# The site: every page without a warning, every link inside. The gallery's examples are not run: `.ci/run long` does that.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

venv site -r "$clone/docs/requirements.txt"
(cd "$clone" && "$scratch/site/bin/python" -m sphinx -q -W --keep-going -b html -D plot_gallery=0 docs "$scratch/html")
"$scratch/site/bin/python" "$clone/tools/check_site.py" "$scratch/html"
