#!/usr/bin/env bash
# README's second command: the whole suite.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

retry sudo apt-get install -yq dataset-fashion-mnist # for the test of that marker
readme_command test
