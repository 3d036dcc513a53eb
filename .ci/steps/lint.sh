#!/usr/bin/env bash
# Style of Python, C++ and shell, at the versions of .pre-commit-config.yaml; Python 3.8 syntax.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

venv tools pre-commit
export PRE_COMMIT_HOME=$scratch/pre-commit
(
  cd "$root"
  retry "$scratch/tools/bin/pre-commit" install-hooks
  "$scratch/tools/bin/pre-commit" run --all-files
)
if python3.8 -c '' 2>/dev/null; then
  cp -r "$root/python" "$scratch/python38"
  python3.8 -m compileall -q "$scratch/python38"
else
  echo "no python3.8 here: its syntax was checked by ruff alone (target-version)"
fi
say "types, the stub of the native module, examples"
build_wheel
venv types -c "$clone/constraints.txt" "$wheel" pytest mypy==2.4.1
(cd "$root" && "$scratch/types/bin/mypy")
(cd "$scratch" && types/bin/stubtest fastalex._core --allowlist "$root/.ci/stubtest_allowlist.txt")
suite "$scratch/types/bin/python" --doctest-modules --doctest-ignore-import-errors --doctest-glob='*.md' -c /dev/null \
  --pyargs fastalex README.md docs
