#!/usr/bin/env bash
# The CUDA library on the GPU of this machine: tests, compute-sanitizer.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

python3 -m venv "$scratch/on-gpu"
bin=$scratch/on-gpu/bin
(cd "$clone" && retry "$bin/pip" install -q -c constraints.txt '.[test]')
suite "$bin/python" --require cuda -m cuda tests/cuda tests/tensorrt
for tool in memcheck racecheck synccheck; do
  say "compute-sanitizer $tool"
  (cd "$clone" && compute-sanitizer --tool "$tool" --error-exitcode 1 "$bin/python" -m pytest -q -p no:cacheprovider \
    --require cuda -m compute_sanitizer tests/cuda)
done
