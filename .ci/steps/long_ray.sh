#!/usr/bin/env bash
# Read-outs by Ray's actors, one of them killed, and the example of Spark; both packages are too large for the suite.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

test_venv
retry sudo apt-get install -yq default-jre-headless
retry "$clone/.venv/bin/pip" install -q -c "$clone/constraints.txt" "${clone}[ray]" 'pyspark>=3.4' 'pandas<3' pyarrow
suite "$clone/.venv/bin/python" -m 'ray or spark' tests/readout
