"""Every op: the naive backend against PyTorch in float64, the tuned one against the naive one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastalex import _core
from fastalex.selftest import bounds, checks, native, winograd_bounds
from fastalex.selftest.cases import CASES, STORAGES, real, served, small
from fastalex.selftest.native import output

ALL = [case for case in CASES.values() if served(case, "cpu")]
PART = 64  # kPartUnits of csrc/cpu/kernels/kernel_table.h
X86 = platform.machine() in ("x86_64", "AMD64")


def parameters(cases):
    """The cases by name. Whole layers have a marker, except the quick one of the spatial normalization."""
    whole = [not case.small and case.op != "spatial_norm" for case in cases]
    return [
        pytest.param(case, id=case.name, marks=[pytest.mark.whole_layer] if slow else [])
        for case, slow in zip(cases, whole)
    ]


@pytest.mark.parametrize("case", parameters(ALL))
def test_tuned_is_within_the_bound_of_naive(case):
    for seed in (0, 1, 2) if case.small else (0,):
        outcome = checks.check(case, "cpu", seed)
        assert outcome.ok, outcome


@pytest.mark.naive
@pytest.mark.peers
@pytest.mark.parametrize("case", parameters([case for case in ALL if case.storage == "fp32"]))
def test_naive_is_pytorch_in_float64(case):
    torch_table = pytest.importorskip("tests.support.torch_table")
    x, params = case.random()
    naive = native.run_native(case.table, x, params, "naive")
    expected = torch_table.run(case.table, x, params).reshape(naive.shape)
    # Both compute in double; naive rounds its result to fp32. Sums of up to 9216 terms in double leave 1e-12.
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(naive, expected, rtol=2.0**-24, atol=1e-12 * np.abs(expected).max())


SUMS = [
    case for case in real() if case.op in ("conv", "fc") and case.name.split("/")[0] in ("alexnet2012", "torchvision")
]


@pytest.mark.peers
@pytest.mark.parametrize("case", parameters(SUMS))
def test_tuned_is_as_exact_as_pytorch_in_fp32(case):
    """At most twice the error that PyTorch makes in the same precision, plus the rounding of the result itself."""
    torch_table = pytest.importorskip("tests.support.torch_table")
    import torch

    ours, theirs = [], []
    for seed in range(3):
        x, params = case.random(seed)
        exact = torch_table.run(case.table, x, params)
        tuned = native.run_native(case.table, x, params, "cpu", exact=True).reshape(exact.shape)
        single = torch_table.run(case.table, x, params, torch.float32)
        scale = np.abs(exact).max()
        ours.append((tuned - exact) / scale)
        theirs.append((single - exact) / scale)
    for size in (np.max, lambda error: np.sqrt(np.mean(error**2))):
        assert size(np.abs(ours)) <= 2 * size(np.abs(theirs)) + 2.0**-24


@pytest.mark.parametrize("case", parameters([case for case in SUMS if case.op == "conv"]))
def test_winograd_errs_as_much_as_its_roundings_do(case):
    """The root mean square of its errors is what independent roundings give (winograd_bound), within a factor of 2."""
    ours, expected = [], []
    for seed in range(2):
        x, params = case.random(seed)
        form = native.arithmetic_of(case, "cpu").form
        assert form.startswith("winograd")
        exact = native.run_native(case.table, x, params, "naive").astype(np.float64)
        ours.append(native.run_native(case.table, x, params, "cpu") - exact)
        expected.append(winograd_bounds.deviation(case, x, params, form, PART))
    ratio = np.sqrt(np.mean(np.square(ours)) / np.mean(np.square(expected)))
    assert 0.5 < ratio < 2


@pytest.mark.parametrize("exact", [False, True], ids=["any", "exact"])
@pytest.mark.parametrize("case", parameters([case for case in ALL if case.op in ("conv", "fc")]))
def test_bf16_is_within_the_bound_of_naive(case, exact):
    """Inputs are bf16 numbers, whose products are exact in fp32, so the bound is that of fp32."""
    outcome = checks.check(case, "cpu", precision="bf16", exact=exact)
    assert outcome.ok, outcome


INT8 = [case for case in ALL if case.op == "conv" and len(case.ops) < 3]


@pytest.mark.parametrize("sign", ["signed", "unsigned"])
@pytest.mark.parametrize("case", parameters(INT8))
def test_int8_convolutions_are_exact_on_quantized_values(case, sign):
    """Inputs and weights that are exact quantized values: sums of integers, so only the scale is rounded."""
    problem = checks.problem(case, "int8", sign == "unsigned")
    assert np.abs(problem.reference).max() > 1e-3
    assert (np.abs(problem.run() - problem.reference) <= problem.bound).all()


@pytest.mark.parametrize("storage", ["int8", "int4"])
@pytest.mark.parametrize("rows", [1, 4, 6])
@pytest.mark.parametrize("kind", ["unsigned", "one outlier", "tiny", "zero"])
def test_byte_planes_of_any_row(storage, rows, kind):
    """Quantized weights times byte planes of the input: rows without negatives, with one large value, small, empty."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((rows, 301, 1, 1), dtype=np.float32)
    if kind == "unsigned":
        x = np.maximum(x, 0)
    elif kind == "one outlier":
        x[:, 17] = 3e4
    elif kind == "tiny":
        x *= np.float32(1e-36)
    else:
        x[-1] = 0
    params = [rng.standard_normal((45, 301), dtype=np.float32), rng.standard_normal(45, dtype=np.float32)]
    table = "fc name=fc out=45"
    net = _core.Net(table, [301, 1, 1], params, "cpu", STORAGES.index(storage))
    weights = net.param(0).reshape(45, 301).astype(np.float64)
    expected = x.reshape(rows, -1).astype(np.float64) @ weights.T + params[1]
    sizes = np.abs(x).reshape(rows, -1).astype(np.float64) @ np.abs(weights).T + np.abs(params[1])
    bound = bounds.gamma(305) * sizes + bounds.byte_plane_error(x, [weights], 3)
    assert (np.abs(output(net, x) - expected) <= bound + 1e-35).all()


@pytest.mark.peers
@pytest.mark.parametrize("storage", ["fp32", "bf16", "int8", "int4"])
def test_nan_and_infinity_in_features_give_what_pytorch_gives(storage):
    """Other rows do not change."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    x = rng.standard_normal((5, 40), dtype=np.float32)
    x[1, 7], x[2, 3], x[3, 2:4] = np.nan, np.inf, (np.inf, -np.inf)
    params = [rng.standard_normal((20, 40), dtype=np.float32), np.zeros(20, np.float32)]
    params[0][4, 3] = 0
    net = _core.Net("fc name=fc out=20", [40, 1, 1], params, "cpu", STORAGES.index(storage))
    kept = net.param(0).reshape(20, 40)
    expected = (torch.from_numpy(x) @ torch.from_numpy(kept).T).numpy()
    got = output(net, x.reshape(5, 40, 1, 1))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(np.isposinf(got), np.isposinf(expected))
    calm = np.where(np.isfinite(x), x, 0).reshape(5, 40, 1, 1)
    np.testing.assert_array_equal(got[[0, 4]], output(net, calm)[[0, 4]])


@pytest.mark.peers
def test_nan_and_infinity_propagate_as_in_pytorch():
    torch_table = pytest.importorskip("tests.support.torch_table")
    for name in ("conv-3x3-relu", "fc-batch9-relu", "maxpool-3/2-ceil", "maxpool-3/2-relu", "relu", "lrn-5-groups2"):
        case = CASES[name]
        x, params = case.random()
        x[0, 0, min(1, x.shape[2] - 1), 0] = np.nan
        x[0, 1, 0, 0] = -np.inf
        expected = torch_table.run(case.table, x, params)
        assert np.isnan(expected).any(), name
        for backend in ("naive", "cpu"):
            got = native.run_native(case.table, x, params, backend, exact=True).reshape(expected.shape)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=f"{name} on {backend}")


@pytest.mark.parametrize("storage", ["fp16", "int8"])
def test_quantization_is_the_documented_one(storage):
    """fp16: round to nearest even. int8: -127 to 127, one scale per output, round to nearest even."""
    case = CASES["fc-" + storage]
    _, params = case.random()
    params[0][0, :6] = [0.0, -0.0, 1e-7, 6.1e-5, -3e-8, 0.333333]
    weights, bias = native.stored_params(case, params, "cpu")
    if storage == "fp16":
        expected = params[0].astype(np.float16).astype(np.float32)
    else:
        scale = np.abs(params[0]).max(axis=1, keepdims=True) / np.float32(127)
        expected = np.rint(params[0] / scale) * scale
    np.testing.assert_array_equal(weights, expected)
    np.testing.assert_array_equal(bias, params[1])


def test_every_half_is_widened_exactly():
    """All finite halves as weights, one at a time, times one."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].astype(np.float32)
    net = _core.Net(f"fc name=fc out={len(halves)}", [1, 1, 1], [halves, np.zeros_like(halves)], "cpu", 1, 1)
    np.testing.assert_array_equal(net.param(0), halves)
    np.testing.assert_array_equal(output(net, np.ones((1, 1, 1, 1), np.float32))[0], halves)


CHILD = """
from fastalex import _core
from fastalex.selftest import checks
outcomes = checks.run_all(["cpu"])
bad = [outcome for outcome in outcomes if not outcome.ok]
print(_core.cpu_isa(), len(outcomes))
raise SystemExit("%d wrong: %s" % (len(bad), bad[:3]) if bad else 0)
"""


def run_with_isa(isa, program=CHILD):
    env = dict(os.environ, FASTALEX_CPU_ISA=isa)
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)


@pytest.mark.parametrize("isa", ["v2", "v3"] if X86 else ["neon"])
def test_isa_can_be_forced(isa):
    done = run_with_isa(isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [isa, str(sum(served(case, "cpu") for case in small()))]


def test_isa_that_does_not_exist_is_refused():
    done = run_with_isa("v9", "from fastalex import _core; _core.cpu_isa()")
    assert done.returncode == 1
    assert "BackendError" in done.stderr and "FASTALEX_CPU_ISA=v9" in done.stderr


def test_isa_that_the_processor_lacks_is_refused():
    flags = Path("/proc/cpuinfo").read_text()
    lacking = "v4" if X86 else "v2"
    done = run_with_isa(lacking, "from fastalex import AlexNet; AlexNet(weights='digits', device='cpu')")
    if "avx512f" in flags:
        assert done.returncode == 0
    else:
        assert "BackendError" in done.stderr and "FASTALEX_CPU_ISA=" + lacking in done.stderr
