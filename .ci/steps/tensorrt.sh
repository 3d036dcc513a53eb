#!/usr/bin/env bash
# The plugins against real headers, and as objects of the registry of lean runtimes, on the emulator.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# Headers of TensorRT: FASTALEX_TENSORRT_HEADERS, a folder of folders by release, or those of one release that a package
# of the Python index has in it. Nothing of the package is run.
find_tensorrt_headers() { # $headers
  headers=${FASTALEX_TENSORRT_HEADERS:-}
  if [[ -n $headers ]]; then return 0; fi
  echo "FASTALEX_TENSORRT_HEADERS is not given: the plugins are compiled for TensorRT 10.14 alone"
  headers=$scratch/tensorrt-headers
  retry "$scratch/tensorrt/bin/pip" download -q --no-deps --only-binary :all: -d "$scratch/download" kernel-lens==2.0.1
  sha256sum --quiet -c - <<<"07cc714e8b5e7f34b672f7c7fad93febe7c747be5837ba276b1527370134ffe0 \
 $scratch/download/kernel_lens-2.0.1-py3-none-any.whl"
  (cd "$scratch/download" && python3 -m zipfile -e kernel_lens-2.0.1-py3-none-any.whl .)
  mkdir -p "$headers/10.14"
  cp -r "$scratch/download/kernel_lens/include/tensorrt" "$headers/10.14/include"
}

build_wheel
venv tensorrt -c "$clone/constraints.txt" "$wheel" pytest pytest-xdist cmake
find_nvcc # for its headers, which TensorRT's include
bin=$scratch/tensorrt/bin
require=(--require tensorrt10)
find_tensorrt_headers
headers=$(realpath "$headers")
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
