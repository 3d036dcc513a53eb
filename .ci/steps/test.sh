#!/usr/bin/env bash
# README's second command: the whole suite.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readme_command test
