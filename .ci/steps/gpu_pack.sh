#!/usr/bin/env bash
# Wheels for a machine with a GPU but no network, packed into .gpu/ of the working tree, which travels with it.
# That machine is expected to have: Python with its headers, pip, numpy and (for the comparison) PyTorch; a C++ compiler,
# CMake and nvcc; compute-sanitizer and ncu. It then lacks only 10 MB of wheels. .ci/run gpu installs
# from .gpu/ only what the machine lacks.
#
#   GPU_PYTHON_VERSION=3.12    its Python
#   GPU_PLATFORM=x86_64        its processor
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

platforms=()
for glibc in 2014 _2_17 _2_24 _2_27 _2_28 _2_31 _2_34; do
  platforms+=(--platform "manylinux${glibc}_${GPU_PLATFORM:-x86_64}")
done
rm -rf "$root/.gpu"
mkdir "$root/.gpu"
venv pack
# The needs of each are named, too: --no-deps keeps out what comes with PyTorch.
retry "$scratch/pack/bin/pip" download -q --no-deps --only-binary=:all: --implementation cp "${platforms[@]}" \
  --python-version "${GPU_PYTHON_VERSION:-3.12}" -d "$root/.gpu" \
  Pillow scikit-build-core pathspec packaging pybind11 ninja pytest iniconfig pluggy pygments pytest-xdist execnet
ls -l "$root/.gpu"
tree=$(cd "$root" && git ls-files -z | xargs -0 du -c -k --apparent-size | tail -n 1 | cut -f 1)
echo "what travels: .gpu $(du -s -k --apparent-size "$root/.gpu" | cut -f 1) KiB, the working tree $tree KiB"
