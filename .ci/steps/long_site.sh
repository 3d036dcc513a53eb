#!/usr/bin/env bash
# The site with its gallery: each example runs, each makes a picture.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

build_wheel
venv gallery -r "$clone/docs/requirements.txt" "$wheel" 'matplotlib>=3.7'
# Examples import what is installed; the API pages' sources have no compiled module.
(cd "$clone" && "$scratch/gallery/bin/python" -m sphinx -q -W --keep-going -b html docs "$scratch/html")
"$scratch/gallery/bin/python" "$clone/tools/check_site.py" "$scratch/html"
for example in "$clone"/examples/gallery/*.py; do
  name=$(basename "$example" .py)
  if [[ ! -f $scratch/html/_images/sphx_glr_${name}_001.png ]]; then
    echo "the example $name made no picture" >&2
    exit 1
  fi
done
