#!/usr/bin/env bash
# What only a GPU can tell, in at most 8 minutes, the most valuable first: every candidate of every layer is right;
# compute-sanitizer finds nothing; fastalex beside PyTorch, eager and compiled, at batches 1, 8, 32 and 128; the layers
# against the GPU's ceilings; the counters of the three that lose most. It tests the working tree, installs nothing
# outside its scratch folder, and needs no network: .ci/run gpu_pack says what the machine must have.
#
# Each part has a limit, ends with a line in steps.txt and has its results in files of $OUT by then, at most eight in
# all, so that half a run is worth half. A part that fails does not keep the next from running; the exit code is then 1.
#
#   OUT=DIR            where the results go; default: a new folder, which is named
#   GPU_DEVICE=h200    the file in devices/ of this GPU; its architecture is the only one that is built
#   GPU_SECONDS=470    for everything together
#   GPU_PYTHON=python3
#   REHEARSE=1         without a GPU: the emulated library in place of the CUDA library, which is built all the same where
#                      there is an nvcc; small networks; stand-ins for NVIDIA's tools
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

rehearse=${REHEARSE:-0}
device=${GPU_DEVICE:-h200}
python=$(command -v "${GPU_PYTHON:-python3}")
deadline=$((SECONDS + ${GPU_SECONDS:-$((rehearse ? 1800 : 470))}))
slower=$((rehearse ? 6 : 1)) # a few cores compile, and the emulator computes
site=$scratch/site packed=$scratch/packed
OUT=${OUT:-$(mktemp -d)}
mkdir -p "$OUT" "$site" "$packed" "$scratch/tmp"
OUT=$(cd "$OUT" && pwd)
echo "results: $OUT"
# Compilers and PyTorch keep their caches and temporary files where everything is thrown away.
export OUT TMPDIR=$scratch/tmp XDG_CACHE_HOME=$scratch/cache TORCHINDUCTOR_CACHE_DIR=$scratch/inductor
export TRITON_CACHE_DIR=$scratch/triton PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=$site:$packed
cd "$root"

failures=0
note() { printf '%-22s %s\n' "$1" "$2" | tee -a "$OUT/steps.txt"; }

part() { # NAME LIMIT_S LOG COMMAND...: what it prints is in LOG at once
  local name=$1 limit=$2 log=$3 began=$SECONDS status=0 word left=$((deadline - SECONDS))
  shift 3
  if ((left < 5)); then
    failures=$((failures + 1))
    note "$name" 'left out: the time is over'
    return 1
  fi
  limit=$((limit * slower))
  if ((limit > left)); then limit=$left; fi
  printf '\n=== %s\n' "$name" >>"$OUT/$log"
  timeout -s INT -k 10 "$limit" "$@" >>"$OUT/$log" 2>&1 </dev/null || status=$?
  case $status in
    0) word=passed ;;
    124 | 137) word="ended at its limit" ;;
    *) word="failed ($status)" ;;
  esac
  note "$name" "$((SECONDS - began)) s of $limit: $word"
  if ((status)); then
    failures=$((failures + 1))
    tail -n 5 "$OUT/$log" | cut -c 1-300
  fi
  return "$status"
}

missing_wheels() { # those of .gpu/ whose packages are not there
  "$python" - "$root"/.gpu/*.whl <<'PYTHON'
import importlib.metadata as metadata, os, sys

for path in sys.argv[1:]:
    try:
        metadata.version(os.path.basename(path).split("-")[0].replace("_", "-"))
    except metadata.PackageNotFoundError:
        print(path)
PYTHON
}

build() {
  nvidia-smi || true
  nvcc --version || true
  "$python" -VV
  nproc
  local wheels=() options=(-C "build-dir=$scratch/build")
  if compgen -G "$root/.gpu/*.whl" >/dev/null; then mapfile -t wheels < <(missing_wheels); fi
  if ((${#wheels[@]})); then
    printf 'brought along: %s\n' "${wheels[@]##*/}"
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$packed" "${wheels[@]}"
  fi
  options+=(-C "cmake.define.FASTALEX_DEVICE=$device")
  if ((!rehearse)) || command -v nvcc >/dev/null; then
    options+=(-C cmake.define.FASTALEX_CUDA=ON)
  else
    options+=(-C cmake.define.FASTALEX_CUDA=OFF)
  fi
  CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) PATH=$packed/bin:$PATH "$python" -m pip install --no-index --no-deps \
    --no-build-isolation --no-compile --target "$site" "${options[@]}" "$root"
  if ((rehearse)); then
    cmake -S "$root/cuda_emulator" -B "$scratch/emulator" -DFASTALEX_EMULATOR_NAME=cuda
    cmake --build "$scratch/emulator" --target fastalex_emulated -j "$(nproc)"
    cp "$scratch/emulator/libfastalex_cuda.so" "$site/fastalex/"
  fi
}

stand_ins() { # NVIDIA's tools that run a program: their options are pairs
  mkdir "$scratch/stand-ins"
  # shellcheck disable=SC2016
  printf '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift 2; done\nexec "$@"\n' >"$scratch/stand-ins/ncu"
  cp "$scratch/stand-ins/ncu" "$scratch/stand-ins/compute-sanitizer"
  printf '#!/bin/sh\necho "a stand-in: no GPU" >&2\nexit 9\n' >"$scratch/stand-ins/nvidia-smi"
  chmod +x "$scratch/stand-ins"/*
  PATH=$scratch/stand-ins:$PATH
}

check() { # that the package was built, and runs on this GPU
  "$python" - "$device" <<'PYTHON'
import sys

from fastalex import _core
from fastalex.runtime import device_spec
from fastalex.tuning import rules

(cuda,) = [one for one in _core.backends() if one["name"] == "cuda"]
if not cuda["available"]:
    sys.exit("the cuda backend does not work here: " + cuda["reason"])
known = [rules.known_as(gpu).device for gpu in device_spec.gpus("cuda")]
print([gpu.name for gpu in device_spec.gpus("cuda")], [one and one.name for one in known])
if not known or known[0] is None or known[0].name != sys.argv[1]:
    sys.exit("this GPU is not %s; say which by GPU_DEVICE" % sys.argv[1])
PYTHON
}

layers() { # FILE: the tables of a result, whole or partial
  "$python" - "$1" <<'PYTHON'
import json, sys

from benchmarks.report import gpu

print(gpu.terminal(json.load(open(sys.argv[1], encoding="utf-8"))))
PYTHON
}
torch_compiles() { # all of the comparison with compiled PyTorch that needs no GPU
  "$python" - <<'PYTHON'
import tempfile

from benchmarks.measure import conversions, gpu_engines, timing

spec = {"variant": "alexnet-digits", "folder": tempfile.mkdtemp(), "torch_device": "cpu", "shape": [3, 131, 131]}
conversions.write_weights(spec)
conversions.write_torch(spec)
net = gpu_engines.Torch(spec, "fp32", True)
net.load(timing.random_images(spec["shape"], 2))
print(net.result().argmax(1))
PYTHON
}
export -f build missing_wheels check layers torch_compiles
export rehearse device python site packed

tests=("$python" -m pytest -q -p no:cacheprovider --require cuda tests/cuda)
small=(-m compute_sanitizer)
workers=()
runs=(benchmarks/run.py gpu --device "$device" --batches 1 8 32 128)
if ((rehearse)); then
  stand_ins
  runs=(benchmarks/run.py gpu --device "$device" --batches 1 2 --variants alexnet-digits --quick)
fi

part build 150 build.log bash -euo pipefail -c build || {
  note 'all' 'without the package there is nothing to test'
  exit 1
}
if ((rehearse)); then
  FASTALEX_EMULATED_DEVICE=$("$python" -c \
    'import sys; from cuda_emulator import emulated; print(emulated.device_text(sys.argv[1]))' "$device")
  export FASTALEX_EMULATED_DEVICE
fi
part check 20 build.log bash -euo pipefail -c check || exit 1

if "$python" -c 'import xdist' 2>/dev/null; then workers=(-n "$(nproc)" --dist worksteal); fi
chosen=(-m cuda)
if ((rehearse)); then chosen+=(-k '(digits or small or conv5 or torchvision/fc8) and not torch_tensors and not threads'); fi
part candidates 150 candidates.log "${tests[@]}" "${chosen[@]}" ${workers[@]+"${workers[@]}"} || true

for tool in memcheck racecheck synccheck; do
  if command -v compute-sanitizer >/dev/null; then
    part "sanitizer $tool" 45 sanitizer.log compute-sanitizer --tool "$tool" --error-exitcode 1 "${tests[@]}" "${small[@]}" || true
  else
    note "sanitizer $tool" 'left out: there is no compute-sanitizer'
  fi
done

# The engine that matters most first; each is written when it is measured. The counters keep 60 s of the time.
part times 150 times.log "$python" "${runs[@]}" --output "$OUT/$device.json" --engines 'fastalex fp16' \
  'torch eager fp16' 'fastalex fp16, int8 fc' || true
result=$OUT/$device.json
if [[ ! -e $result ]]; then result=$result.partial; fi
# shellcheck disable=SC2016
if [[ -e $result ]]; then part layers 10 times.log bash -euo pipefail -c 'layers "$1"' - "$result" || true; fi
if ((!rehearse)); then
  compiled=("$python" "${runs[@]}" --output "$OUT/$device-compile.json" --engines 'torch compile fp16')
else
  compiled=(bash -euo pipefail -c torch_compiles)
fi
part compile "$((deadline - SECONDS > 70 ? deadline - SECONDS - 60 : 10))" times.log "${compiled[@]}" || true
if [[ -e $result ]]; then
  part profile 60 times.log "$python" benchmarks/run.py profile "$result" --output "$OUT/profile.txt" || true
fi
note all "$SECONDS s, $failures failed"
((!failures))
