# Functions of .ci/run and its steps. Each step is a process of its own and sources this first.
# shellcheck shell=bash
set -euo pipefail

SUITE_LIMIT=${SUITE_LIMIT:-25m} # a hang ends here
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
x86=$([[ $(uname -m) == x86_64 ]] && echo yes || echo no)
export root x86 DEBIAN_FRONTEND=noninteractive PIP_RETRIES=10 PIP_DISABLE_PIP_VERSION_CHECK=1
unset FASTALEX_CPU_ISA

say() { printf '\n=== %s\n' "$*"; }

retry() { # COMMAND...: up to four times, for registries that are briefly unavailable
  local pause
  for pause in 5 20 60; do
    if "$@"; then return 0; fi
    echo "failed, again in $pause s: $*" >&2
    sleep "$pause"
  done
  "$@"
}

prepare_scratch() { # all that the steps of a GPU need: they test the working tree, perhaps without a network or git
  scratch=$(mktemp -d)
  export scratch
}

prepare() { # what every other step needs: a scratch folder, compiler, sudo, a clone
  prepare_scratch
  clone=$scratch/clone
  export clone PATH
  # README's commands call apt-get themselves, so its patience comes from a configuration file.
  printf 'Acquire::Retries "5";\nDPkg::Lock::Timeout "300";\n' >"$scratch/apt.conf"
  export APT_CONFIG=$scratch/apt.conf
  # They say sudo; containers often lack it and do not need it.
  if ! command -v sudo >/dev/null; then
    mkdir -p "$scratch/bin"
    printf '#!/bin/sh\nexec "$@"\n' >"$scratch/bin/sudo"
    chmod +x "$scratch/bin/sudo"
    PATH=$scratch/bin:$PATH
  fi
  retry sudo apt-get update -q
  retry sudo apt-get install -yq git build-essential binutils ccache python3-dev python3-venv
  git clone -q "$root" "$clone"
  # Several steps compile the same sources with the same flags.
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_DIR=$scratch/ccache CCACHE_BASEDIR=$scratch CCACHE_NOHASHDIR=1
}

venv() { # NAME PACKAGE...: makes $scratch/NAME on the first call, installs the packages
  local name=$1
  shift
  [[ -d $scratch/$name ]] || python3 -m venv "$scratch/$name"
  if (($#)); then retry "$scratch/$name/bin/pip" install -q "$@"; fi
}

# Check that a command fails with a sentence: refused SENTENCE COMMAND...
refused() {
  local sentence=$1 said
  shift
  if said=$("$@" 2>&1); then
    echo "this should have failed: $*" >&2
    return 1
  fi
  if ! grep -qF -- "$sentence" <<<"$said"; then
    printf 'this failed without saying "%s": %s\n%s\n' "$sentence" "$*" "$said" >&2
    return 1
  fi
}

build_wheel() { # once: $wheel
  wheel=$(find "$scratch/dist" -name 'fastalex-*.whl' 2>/dev/null || true)
  [[ -z $wheel ]] || return 0
  venv tools auditwheel
  "$scratch/tools/bin/pip" wheel -q --no-deps -w "$scratch/dist" "$clone"
  wheel=$(find "$scratch/dist" -name 'fastalex-*.whl')
}

readme_command() { # NAME: in the clone, as a reader would run it
  local command
  command=$(python3 "$clone/tools/readme_command.py" "$1")
  echo "$command"
  (cd "$clone" && timeout "$SUITE_LIMIT" bash -euo pipefail -c "$command" </dev/null)
}

suite() { # PYTHON ARGUMENT...: some of the suite, in the clone
  local python=$1
  shift
  (cd "$clone" && timeout "$SUITE_LIMIT" "$python" -m pytest -q -p no:cacheprovider "$@" </dev/null)
}

parallel_suite() { # PYTHON ARGUMENT...: likewise, on all cores; needs pytest-xdist
  suite "$@" -n auto --dist worksteal
}

find_nvcc() { # $nvcc: the one on PATH, or the compiler from PyPI
  nvcc=$(command -v nvcc || true)
  [[ -z $nvcc ]] || return 0
  venv nvcc 'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-runtime==13.0.*'
  local toolkit
  toolkit=$(echo "$scratch"/nvcc/lib/python3*/site-packages/nvidia/cu13)
  ln -sfn lib "$toolkit/lib64" # where nvcc looks for the static runtime
  nvcc=$toolkit/bin/nvcc
}

# Headers of TensorRT: FASTALEX_TENSORRT_HEADERS, a folder of folders by release, or those of one release that a package
# of the Python index has in it. Nothing of the package is run.
find_tensorrt_headers() { # $headers
  if [[ -n ${FASTALEX_TENSORRT_HEADERS:-} ]]; then
    headers=$(realpath "$FASTALEX_TENSORRT_HEADERS")
    return 0
  fi
  echo "FASTALEX_TENSORRT_HEADERS is not given: the plugins are compiled for TensorRT 10.14 alone"
  headers=$scratch/tensorrt-headers
  if [[ -d $headers ]]; then return 0; fi
  venv tools
  retry "$scratch/tools/bin/pip" download -q --no-deps --only-binary :all: -d "$scratch/download" kernel-lens==2.0.1
  sha256sum --quiet -c - <<<"07cc714e8b5e7f34b672f7c7fad93febe7c747be5837ba276b1527370134ffe0 \
 $scratch/download/kernel_lens-2.0.1-py3-none-any.whl"
  (cd "$scratch/download" && python3 -m zipfile -e kernel_lens-2.0.1-py3-none-any.whl .)
  mkdir -p "$headers/10.14"
  cp -r "$scratch/download/kernel_lens/include/tensorrt" "$headers/10.14/include"
}

kernels_venv() { # $scratch/kernels: the package, and NVIDIA's compilers as packages
  build_wheel
  venv kernels -c "$clone/constraints.txt" "$wheel" pytest pytest-xdist cmake 'nvidia-cuda-nvrtc-cu12==12.9.*' \
    'nvidia-cuda-nvcc-cu12==12.9.*' 'nvidia-cuda-runtime-cu12==12.9.*'
}

test_venv() { # $clone/.venv as README's second command makes it, unless that has run
  if [[ -x $clone/.venv/bin/pytest ]]; then return 0; fi
  python3 -m venv "$clone/.venv"
  (cd "$clone" && retry .venv/bin/pip install -q -c constraints.txt '.[test]')
}

# A step run by itself prepares and cleans up; under .ci/run it uses the prepared files. Both print the time taken.
finish() { # EXIT_CODE
  printf -- '--- %s: %d s\n' "$(basename "$0" .sh)" "$SECONDS"
  if [[ -z ${CI_RUN:-} ]]; then rm -rf "$scratch"; fi
  exit "$1"
}

if [[ $0 == */steps/*.sh ]]; then
  trap 'finish $?' EXIT
  if [[ -z ${CI_RUN:-} ]]; then
    if [[ $0 == */gpu*.sh ]]; then prepare_scratch; else prepare; fi
  fi
fi
