#!/usr/bin/env bash
# 500 random AlexNet-like graphs, seven times as many as in the suite, with both exporters of PyTorch.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SUITE_LIMIT=1h
test_venv
retry "$clone/.venv/bin/pip" install -q -c "$clone/constraints.txt" onnxscript
suite "$clone/.venv/bin/python" -s --graphs 500 tests/weights/test_random_graphs.py
