#!/usr/bin/env bash
# AddressSanitizer and UndefinedBehaviorSanitizer over the engine, with every instruction set of this machine.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

venv sanitized pytest pytest-xdist hypothesis
build=(-C 'cmake.define.FASTALEX_SANITIZE=address,undefined')
if [[ $x86 == yes ]]; then
  # Sanitized kernels take minutes to compile. Other levels and the test levels have the kernels of these three.
  build+=(-C cmake.define.FASTALEX_TEST_ISA=ON)
  for isa in v3vnni v4bf16 v4amx; do build+=(-C "cmake.define.FASTALEX_COMPILES_$isa=OFF"); done
fi
"$scratch/sanitized/bin/pip" install -q "$clone" "${build[@]}"

# PyTorch and onnxruntime are not under test here and slow under a sanitizer, so they are not installed, and the tests
# that compare with them run in the test step only. Leaks: the interpreter has its own.
# libstdc++ is named because the sanitizer must find __cxa_throw before the module is loaded.
isas=()
preload="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)"
say "sanitized, isa of this machine"
LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0 parallel_suite "$scratch/sanitized/bin/python" -m "not peers" \
  tests/engine/test_ops.py tests/engine/test_engine.py tests/engine/test_arguments.py tests/engine/test_quantize_rows.py \
  tests/engine/test_distance.py tests/engine/test_zeros.py tests/engine/test_levels.py tests/model/test_model.py
if [[ $x86 == yes ]]; then isas=(v2 v3 wide v3twin); fi
for isa in "${isas[@]}"; do
  say "sanitized, isa $isa"
  FASTALEX_CPU_ISA=$isa LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0 parallel_suite "$scratch/sanitized/bin/python" \
    -m "not peers and not whole_layer" tests/engine/test_ops.py tests/engine/test_integers.py tests/engine/test_zeros.py \
    tests/engine/test_distance.py
done
if [[ $x86 == yes ]]; then
  say "sanitized, isa amxtwin"
  FASTALEX_CPU_ISA=amxtwin LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0 parallel_suite "$scratch/sanitized/bin/python" \
    tests/engine/test_tiles.py
fi
