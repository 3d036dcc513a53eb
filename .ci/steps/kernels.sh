#!/usr/bin/env bash
# The CUDA kernels without a GPU: compiled for every device, run on the emulator with its checks on.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

kernels_venv
bin=$scratch/kernels/bin
for check in race address; do
  say "emulator, $check"
  "$bin/cmake" -S "$clone/cuda_emulator" -B "$scratch/emulator-$check" -DFASTALEX_EMULATOR_CHECK=$check
  "$bin/cmake" --build "$scratch/emulator-$check" -j "$(nproc)"
  "$scratch/emulator-$check/check_emulator"
done
# sm_61 and sm_70, which only the wheel has: .ci/run long_kernels.
say "kernels: compiled for every device, and which serves what"
(cd "$clone" && PATH=$bin:$PATH "$bin/python" -m tools.check_cuda_kernels --arch 53,62,75,80,86,87,89,90,120 \
  --table docs/cuda-kernels.md --check-table \
  --library "$scratch/emulator-race/libfastalex_emulated.so")
# The test step has the layers at their full size without these checks; .ci/run long_layers has them with the race check.
tests=(tests/cuda/test_{kernels,columns,layouts,resident_blocks}.py tests/tensorrt/test_plugins.py)
say "kernels: races"
FASTALEX_EMULATOR_LIBRARY=$scratch/emulator-race/libfastalex_emulated.so parallel_suite "$bin/python" \
  "${tests[@]}" -m 'not whole_layer'
say "kernels: addresses"
FASTALEX_EMULATOR_LIBRARY=$scratch/emulator-address/libfastalex_emulated.so ASAN_OPTIONS=detect_leaks=0 \
  LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" parallel_suite "$bin/python" \
  "${tests[@]}" -m 'not whole_layer'
