#!/usr/bin/env bash
# The plugins against real headers, and as objects of the registry of lean runtimes, on the emulator.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

build_wheel
venv tensorrt -c "$clone/constraints.txt" "$wheel" pytest pytest-xdist cmake
find_nvcc # for its headers, which TensorRT's include
bin=$scratch/tensorrt/bin
require=(--require tensorrt10)
find_tensorrt_headers
(cd "$clone" && CUDACXX=$nvcc PATH=$bin:$PATH "$bin/python" -m tools.check_tensorrt_headers --headers "$headers")
if [[ $x86 == no ]]; then
  echo "not x86-64: there is no package of a lean runtime"
  exit 0
fi
retry "$bin/pip" install -q --no-deps --target "$scratch/lean/10" tensorrt-lean-cu12-libs==10.16.1.11
if [[ -n ${FASTALEX_TENSORRT_HEADERS:-} ]]; then
  retry "$bin/pip" install -q --no-deps --target "$scratch/lean/11" tensorrt-lean-cu12-libs==11.1.0.106
  require=(--require tensorrt)
fi
CUDACXX=$nvcc FASTALEX_TENSORRT_HEADERS=$headers FASTALEX_TENSORRT_LEAN=$scratch/lean PATH=$bin:$PATH \
  parallel_suite "$bin/python" "${require[@]}" tests/tensorrt/test_plugins.py tests/tensorrt/test_registry.py
