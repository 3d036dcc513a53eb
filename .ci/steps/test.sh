#!/usr/bin/env bash
# README's second command: the whole suite; then an arm of the experiments, whose images are a package of Debian.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readme_command test
retry sudo apt-get install -yq dataset-fashion-mnist
suite "$clone/.venv/bin/python" -m fashion_mnist tests/benchmarks/test_experiments.py
