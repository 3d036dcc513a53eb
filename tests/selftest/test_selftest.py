"""The op cases and the self-test: they pass here, and they detect errors."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fastalex import _core
from fastalex.errors import BackendError
from fastalex.networks import activations
from fastalex.selftest import bounds, cases, checks, native

OPS = {"conv", "fc", "lrn", "spatial_norm", "maxpool", "adaptive_avgpool", "softmax", *activations.OPS}
SMALL = [case for case in cases.small() if cases.served(case, "cpu")]
BACKENDS = [entry["name"] for entry in _core.backends() if entry["available"] and entry["name"] != "naive"]


def named(case):
    return case.name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", SMALL, ids=named)
def test_passes_here_with_other_seeds(case, backend):
    for seed in (1, 2):
        outcome = checks.check(case, backend, seed)
        assert outcome.ok, outcome


def test_every_op_has_a_case_and_the_whole_is_quick():
    assert {case.op for case in SMALL} == OPS
    start = time.process_time()
    outcomes = checks.run_all([*BACKENDS, "naive"])
    assert time.process_time() - start < 2.0  # about 0.1 s; the limit is for slow and busy machines
    assert [(outcome.backend, outcome.case) for outcome in outcomes] == [(b, c.name) for b in BACKENDS for c in SMALL]
    assert all(outcome.ok for outcome in outcomes)


def test_real_cases_are_every_layer_of_the_family_once():
    real = cases.real()
    assert {case.op for case in real} == OPS - {*activations.OPS, "softmax"}
    kinds = [(case.op, case.shape, sorted(case.options.items() - {("name", case.options["name"])})) for case in real]
    assert all(kinds.count(kind) == 1 for kind in kinds)
    conv1 = cases.CASES["alexnet2012/conv1"]
    assert conv1.shape == (1, 3, 227, 227)
    assert conv1.param_shapes == [(96, 3, 11, 11), (96,)]
    assert cases.CASES["alexnet2012/conv2"].products == 48 * 25
    assert cases.CASES["alexnet2012/fc6"].param_shapes == [(4096, 9216), (4096,)]


@pytest.mark.parametrize("case", SMALL, ids=named)
def test_params_are_what_the_engine_expects_and_seeded(case):
    x, params = case.random(3)
    again, others = case.random(3)
    np.testing.assert_array_equal(x, again)
    assert all((a == b).all() for a, b in zip(params, others))
    assert (case.random(4)[0] != x).any()
    assert x.dtype == np.float32
    assert [param.shape for param in params] == case.param_shapes
    _core.Net(case.table, list(case.shape[1:]), params, "naive")  # refuses wrong counts


def off_by(factor, index=0):
    """A runner whose result is wrong in one value, by ``factor`` times the value of largest magnitude."""

    def run(table, x, params, backend, storage):
        y = native.run_native(table, x, params, "cpu", storage)
        flat = y.reshape(-1)
        flat[index] += factor * np.abs(flat).max()
        return y

    return run


@pytest.mark.parametrize("case", SMALL, ids=named)
def test_one_wrong_value_fails(case):
    outcome = checks.check(case, "cpu", run=off_by(1e-2, index=-1))
    assert not outcome.ok
    assert "1 of" in outcome.reason


def zeros(table, x, params, backend, storage):
    return np.zeros_like(native.run_native(table, x, params, "naive"))


def nan(table, x, params, backend, storage):
    return np.full_like(native.run_native(table, x, params, "naive"), np.nan)


def transposed(table, x, params, backend, storage):
    return native.run_native(table, x, params, "naive").T


def refuses(table, x, params, backend, storage):
    raise BackendError("no such luck")


@pytest.mark.parametrize(
    ("run", "reason"),
    [(zeros, "values are wrong"), (nan, "not finite"), (transposed, "the shape is"), (refuses, "no such luck")],
)
def test_wrong_results_fail_every_case(run, reason):
    outcomes = checks.run_all(["cpu"], run=run)
    assert len(outcomes) == len(SMALL)
    for outcome in outcomes:
        assert not outcome.ok, outcome
        assert reason in outcome.reason


def without_bias(table, x, params, backend, storage):
    return native.run_native(table, x, [params[0], np.zeros_like(params[1])], "cpu", storage)


def other_window(table, x, params, backend, storage):
    return native.run_native(table.replace("size=5", "size=3"), x, params, "cpu")


def undivided_alpha(table, x, params, backend, storage):
    words = [word if not word.startswith("alpha=") else f"alpha={float(word[6:]) * 5:g}" for word in table.split()]
    return native.run_native(" ".join(words), x, params, "cpu")


@pytest.mark.parametrize(
    ("name", "run"),
    [(case.name, without_bias) for case in SMALL if case.param_shapes]
    + [(case.name, other_window) for case in SMALL if "size=5" in case.table]
    + [(case.name, undivided_alpha) for case in SMALL if "alpha=" in case.table],
)
def test_plausible_defects_fail(name, run):
    assert not checks.check(cases.CASES[name], "cpu", run=run).ok


def test_a_reference_that_tells_nothing_fails():
    case = cases.CASES["fc-odd"]
    reference = np.full((1, 37), 1e-4)
    for bound in (np.zeros_like(reference), np.full_like(reference, 1e-6)):
        assert not checks.compare(case, "cpu", reference.astype(np.float32), reference, bound).ok
    large = np.ones_like(reference)
    assert checks.compare(case, "cpu", large, large, large * 1e-6).ok
    assert not checks.compare(case, "cpu", large, large, large * 0.5).ok  # zeros would almost pass


def test_a_workspace_read_before_it_is_written_would_show(monkeypatch):
    runs = []

    class Net:
        def run(self, call):
            runs.append(np.isnan(call.input).all())
            return [call.input]

    monkeypatch.setattr(native, "make_net", lambda *args: Net())
    native.run_native("relu name=a", np.ones((1, 1, 1, 1), np.float32), [], "cpu")
    assert runs == [True, False]


def test_bounds_grow_as_the_arithmetic_says():
    assert bounds.gamma(1) == pytest.approx(2.0**-24)
    case = cases.CASES["fc-long-sum"]
    x, params = case.random()
    reference = native.run_native(case.table, x, params, "naive").astype(np.float64)
    bound = bounds.error_bound(case, x, params, reference)
    expected = np.abs(x.reshape(2, -1)).astype(np.float64) @ np.abs(params[0]).T + np.abs(params[1])
    np.testing.assert_allclose(bound, bounds.gamma(1003) * expected, rtol=1e-6)


@pytest.mark.parametrize("storage", ["fp16", "int8"])
def test_quantized_weights_are_compared_with_what_they_became(storage):
    case = next(case for case in SMALL if case.storage == storage)
    _, params = case.random()
    kept = native.stored_params(case, params, "cpu")
    assert (kept[0] != params[0]).any()
    np.testing.assert_allclose(kept[0], params[0], atol=0.01 * np.abs(params[0]).max())

    def unquantized(table, x, params, backend, storage):
        return native.run_native(table, x, params, backend)

    assert not checks.check(case, "cpu", run=unquantized).ok
