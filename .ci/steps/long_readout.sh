#!/usr/bin/env bash
# Read-outs of 200,000 images, killed five times, where the suite has 2,000; Parquet and S3, whose packages it lacks.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SUITE_LIMIT=1h
test_venv
retry "$clone/.venv/bin/pip" install -q -c "$clone/constraints.txt" "${clone}[scale]" 'moto[server]>=5'
suite "$clone/.venv/bin/python" -m scale tests/readout
# Where the kills were, what differs (nothing), and the peak memory of a process; zarr and hdf5 with all passes.
for more in '--images 200000' '--images 20000 --format hdf5 --dtype int8 --pca 16' \
  '--images 20000 --format zarr --dtype float16 --project 64'; do
  # shellcheck disable=SC2086
  (cd "$clone" && "$clone/.venv/bin/python" -m tests.readout.killed "$scratch/readout" $more --check)
  rm -rf "$scratch/readout"
done
