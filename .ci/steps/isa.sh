#!/usr/bin/env bash
# The ops with each instruction set of this machine other than the one the engine chooses by itself.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

if [[ $x86 == no ]]; then
  echo "not x86-64: there is one instruction set"
  exit 0
fi
test_venv
chosen=$("$clone/.venv/bin/python" -c 'from fastalex import _core; print(_core.cpu_isa())')
for isa in v2 v3 v3vnni v4 v4vnni v4bf16 v4amx; do
  if [[ $isa == "$chosen" ]]; then break; fi # those after it are not on this machine
  # v3vnni is not a part of those after it.
  if [[ $isa == v3vnni ]] && ! grep -qw avx_vnni /proc/cpuinfo; then continue; fi
  say "isa $isa"
  FASTALEX_CPU_ISA=$isa parallel_suite "$clone/.venv/bin/python" -m "not naive" \
    tests/engine/test_ops.py tests/engine/test_integers.py tests/engine/test_precisions.py tests/engine/test_zeros.py \
    tests/engine/test_distance.py
done
