#!/usr/bin/env bash
# Read-outs of 200,000 images, killed five times, where the suite has 2,000; Parquet and S3, whose packages it lacks.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SUITE_LIMIT=1h
test_venv
# What the extra has and the suite lacks, by name: with "${clone}[scale]" and moto together, pip of Python 3.11 finds no
# botocore for both.
retry "$clone/.venv/bin/pip" install -q -c "$clone/constraints.txt" 'pyarrow>=15' 's3fs>=2023.1' 'moto[server]>=5'
suite "$clone/.venv/bin/python" -m scale tests/readout
# Where the kills were, what differs (nothing), and the peak memory of a process; zarr and hdf5 with all passes.
for more in '--images 200000' '--images 20000 --format hdf5 --dtype int8 --pca 16' \
  '--images 20000 --format zarr --dtype float16 --project 64'; do
  # shellcheck disable=SC2086
  (cd "$clone" && "$clone/.venv/bin/python" -m tests.readout.killed "$scratch/readout" $more --check)
  rm -rf "$scratch/readout"
done
