#!/usr/bin/env bash
# The wheel: its size, its contents, and its use without a compiler.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

clean() { # COMMAND...: with nothing but the clean environment to be found
  local env
  env=$(command -v env)
  (cd "$scratch" && "$env" PATH="$scratch/clean/bin" "$@")
}

readonly WHEEL_LIMIT=5000000 # bytes

build_wheel
size=$(stat -c %s "$wheel")
echo "$(basename "$wheel"): $size bytes, at most $WHEEL_LIMIT"
((size < WHEEL_LIMIT))
listing=$(python3 -m zipfile -l "$wheel")
grep -q 'dist-info/.*LICENSE' <<<"$listing"
grep -q 'dist-info/.*NOTICE' <<<"$listing"
for file in index.html page.js page.css; do grep -q "fastalex/serve/ui/page/$file" <<<"$listing"; done
"$scratch/tools/bin/auditwheel" show "$wheel" || echo "auditwheel has no answer (informational)"

python3 -m venv "$scratch/clean"
clean python -c 'import shutil; assert not any(map(shutil.which, ("cc", "c++", "gcc", "g++", "clang", "cmake")))'
retry clean python -m pip install -q "$wheel"
# Kernels that exist only for tests must not be in a wheel.
refused 'is none of' clean FASTALEX_CPU_ISA=wide python -c 'from fastalex import _core; _core.cpu_isa()'
clean python -m fastalex --json >"$scratch/info.json"
python3 -m json.tool "$scratch/info.json" >/dev/null
clean fastalex info
clean fastalex classify --weights digits --json "$clone"/examples/digits/*.png >"$scratch/classes.json"
python3 -m json.tool "$scratch/classes.json" >/dev/null
clean fastalex classify --weights digits "$clone/examples/digits/digit-3-sample-0003.png"
clean python -c 'import sys, fastalex.model; assert "torch" not in sys.modules'
