#!/usr/bin/env bash
# The page of `fastalex ui` in a real browser: Debian's Chromium, driven by Playwright.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

retry sudo apt-get install -yq chromium fonts-liberation
build_wheel
venv browser -c "$clone/constraints.txt" "${wheel}[serve]" pytest httpx playwright
suite "$scratch/browser/bin/python" -m browser tests/serve/test_browser.py
