"""Checks of the TensorRT plugins, on the ops alone and on objects from a registry.

Results are compared with the naive backend, within the bounds of :mod:`fastalex.selftest`; ``run(harness, plans)`` runs
all of it; ``python -m tests.support.plugin_checks`` does so in a process of its own.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Sequence, Tuple

import numpy as np

from cuda_emulator import emulated
from fastalex import _core, images
from fastalex.images.profiles import PROFILES
from fastalex.runtime import frames
from fastalex.runtime.arrays import ArrayView
from fastalex.selftest import bounds, checks, native
from fastalex.selftest.cases import CASES, STORAGES, Case
from tests.support.kernels import describe
from tests.support.plugins import NAMES, UNKNOWN, Fields, Harness, Plans, PluginError, Tensor

KINDS = {"fp32": "float", "fp16": "half"}
PACKED = {"fp32": "hwc", "fp16": "hwc8"}

_LRN = "lrn name=n size=%d alpha=%g beta=%g k=%g groups=%d"
_POOL = "maxpool name=p kernel=%d stride=%d rounding=%s"
#: Pairs in either order, with channels in whole vectors and not, groups, overhang, an activation at the end.
PAIRS = (
    Case("lrn-pool", "\n".join((_LRN % (5, 0.3, 0.75, 1, 1), _POOL % (3, 2, "ceil"))), (2, 24, 9, 8)),
    Case("lrn-pool-relu-groups", "\n".join((_LRN % (5, 0.2, 0.75, 2, 2), _POOL % (3, 2, "floor"), "relu name=a")),
         (1, 20, 8, 11)),
    Case("pool-lrn", "\n".join((_POOL % (3, 2, "ceil"), _LRN % (5, 0.3, 0.75, 1, 1))), (1, 16, 8, 7)),
    Case("pool-relu-lrn-general", "\n".join((_POOL % (2, 2, "floor"), "relu name=a", _LRN % (3, 0.2, 0.5, 2, 1))),
         (2, 8, 6, 6)),
    # No kernel fuses these.
    Case("pool-lrn-wide", "\n".join((_POOL % (3, 2, "floor"), _LRN % (5, 0.3, 0.75, 1, 1))), (2, 1100, 5, 5)),
)  # fmt: skip
#: Quantized maps, with channels in whole vectors and not.
MAPS = (
    Case("fc-int8-map", "fc name=fc out=19", (2, 13, 5, 4), storage="int8"),
    Case("fc-int8-map16", "fc name=fc out=21\nrelu name=a", (1, 16, 3, 4), storage="int8"),
    Case("fc-int4-map16", "fc name=fc out=19", (2, 16, 5, 4), storage="int4"),
)
#: One small case of each kind, for slower runs.
FEW = ("conv-11x11/4", "conv-5x5-pad2-groups2", "conv-3x3-relu", "fc-int8-batch9-relu", "fc-int4", "lrn-5-groups2")


class Problem(NamedTuple):
    """A plugin, its input and its expected output."""

    plugin: str
    fields: Fields
    x: np.ndarray
    reference: np.ndarray  # float64
    bound: np.ndarray


def cases() -> List[Case]:
    """The small cases that a plugin can compute."""
    found = [case for case in CASES.values() if case.small and case.op in ("conv", "lrn")]
    found = [case for case in found if not set(case.ops) & {"leaky_relu", "sigmoid"}]  # never fused
    found += [case for case in CASES.values() if case.small and case.storage in ("int8", "int4")]
    return [*(case for case in found if case.name != "fc-int4-map"), *MAPS, *PAIRS]


def _levels(case: Case, weight: np.ndarray) -> Tuple[Tuple[Any, ...], np.ndarray]:
    """(quantized values, scale, storage) of a weight, and the dequantized weight."""
    _, channels, height, width = case.shape
    outputs, inputs = weight.shape
    by_pixel = weight.reshape(outputs, channels, height * width).transpose(0, 2, 1)
    rows = np.ascontiguousarray(by_pixel).reshape(outputs, -1)
    levels, scale = _core.quantize_rows(rows, STORAGES.index(case.storage))
    if case.storage == "int8":
        values = levels.astype(np.float32) * scale[:, None]
    else:
        nibbles = np.stack([levels & 15, levels >> 4], axis=-1).reshape(outputs, -1)[:, :inputs].astype(np.float32) - 8
        values = nibbles * np.repeat(scale.astype(np.float32), 128, axis=1)[:, :inputs]
    kept = values.reshape(outputs, height * width, channels).transpose(0, 2, 1).reshape(outputs, inputs)
    return (levels, scale, case.storage), np.ascontiguousarray(kept)


def problem(plans: Plans, case: Case, precision: str, backend: str) -> Problem:
    """The plugin that a plan would use for ``case``."""
    x, params = case.random()
    if precision == "fp16":
        x = x.astype(np.float16).astype(np.float32)
    given, kept = list(params), list(params)
    if case.op == "fc":
        given[0], kept[0] = _levels(case, params[0])
    elif params and precision == "fp16":
        kept[0] = params[0].astype(np.float16).astype(np.float32)
    plugin, fields, used = plans.fields(case.table, case.shape, given)
    fused = len([op for op in case.ops if op not in ("relu", "tanh")])
    assert used == fused, (case.name, plugin, used)
    reference = native.run_native(case.table, x, kept, "naive").astype(np.float64)
    bound = _bound(case, precision, backend, x, kept, reference)
    shape = reference.shape if reference.ndim == 4 else (*reference.shape, 1, 1)
    return Problem(plugin, fields, x, reference.reshape(shape), bound.reshape(shape))


def _bound(case: Case, precision: str, backend: str, x: np.ndarray, kept: Any, reference: np.ndarray) -> np.ndarray:
    if case not in PAIRS:
        kind = dataclasses.replace(case, storage="fp16") if (precision, case.storage) == ("fp16", "fp32") else case
        arithmetic = native.arithmetic_of(kind, backend, precision)
        return bounds.error_bound(kind, x, kept, reference, arithmetic)
    # The pool chooses, so a value is off by as much as any in its window may be; the normalization is the only sum.
    lines = [line for line in case.table.splitlines() if not line.startswith("relu")]
    magnitudes = x
    for line in lines:
        if line.startswith("lrn"):
            magnitudes = np.abs(native.run_native(line, magnitudes, [], "naive"))
        else:
            magnitudes = native.run_native(line, magnitudes, [], "naive")
    size = int(next(line for line in lines if line.startswith("lrn")).split("size=")[1].split()[0])
    bound = bounds.gamma(size + 3 + bounds.FUNCTION + 2) * magnitudes.astype(np.float64)
    if precision == "fp16":
        bound = bound * (1 + bounds.U16) + bounds.U16 * np.abs(magnitudes) + bounds.TINY16
    return bound


def layouts(channels: int, precision: str) -> Sequence[str]:
    """Formats that a plugin supports for a tensor with ``channels`` channels."""
    return ("linear", PACKED[precision]) if channels % 8 == 0 else ("linear",)


def assert_right(result: np.ndarray, want: Problem, message: Any) -> None:
    assert result.shape == want.reference.shape, message
    assert np.abs(want.reference).max() > checks.SMALLEST, message
    difference = np.abs(result.astype(np.float64) - want.reference)
    assert (difference <= want.bound).all(), (message, difference.max(), want.bound.max())


def check_results(harness: Harness, plans: Plans, names: Sequence[str] = ()) -> int:
    """Check every case (or the named ones and the pairs) in each precision, from and to each format."""
    ran = 0
    for case in cases():
        if names and case.name not in names and case not in (*MAPS, *PAIRS):
            continue
        for precision, kind in KINDS.items():
            want = problem(plans, case, precision, harness.backend)
            plugin = harness.create(want.plugin, want.fields)
            for into in layouts(case.shape[1], precision):
                given = Tensor(case.shape, kind, into)
                shape = plugin.output(given)
                assert shape.kind == kind, case.name
                assert shape.dims == want.reference.shape, (case.name, shape.dims)
                for layout in layouts(shape.dims[1], precision):
                    out = Tensor(shape.dims, kind, layout)
                    assert plugin.supports(given), (case.name, into)
                    assert plugin.supports(given, out), (case.name, layout)
                    assert_right(plugin.run(want.x, given, out), want, (case.name, precision, into, layout))
                    ran += 1
    return ran


def _relu_conv(plans: Plans, harness: Harness, precision: str = "fp32") -> Problem:
    return problem(plans, CASES["conv-3x3-relu"], precision, harness.backend)


def check_creators(harness: Harness, plans: Plans) -> None:
    """Check that the registry has the four plugins, with version and fields."""
    found = harness.creators()
    for name in NAMES:
        assert found[name][0] == "1", found
    assert {"weights", "bias", "kernel", "stride", "pad", "groups", "activation"} < set(found["FastAlexConvReLU"])
    assert {"order", "size", "alpha", "beta", "k", "divide_alpha"} < set(found["FastAlexLRNPool"])
    assert {"weights", "scale", "bias", "input", "storage"} < set(found["FastAlexFullyConnectedW8"])
    assert {"filter", "resized", "crop", "output", "scale", "shift"} < set(found["FastAlexPreprocess"])


def check_formats(harness: Harness, plans: Plans) -> None:
    """Linear always, the kernels' own format if the channels fill its vectors; one type on both sides."""
    want = _relu_conv(plans, harness)
    plugin = harness.create(want.plugin, want.fields)  # 8 channels to 19
    for kind, good in (("float", {"linear", "hwc"}), ("half", {"linear", "hwc8"}), ("int8", set()), ("other", set())):
        for layout in ("linear", "hwc8", "hwc", "other"):
            given = Tensor((1, 8, 9, 9), kind, layout)
            assert plugin.supports(given) == (layout in good), (kind, layout)
            odd = Tensor((1, 19, 9, 9), kind, layout)
            assert plugin.supports(odd) == (layout == "linear" and bool(good)), (kind, layout)
    given = Tensor((1, 8, 9, 9), "half")
    assert plugin.supports(given, Tensor((1, 19, 9, 9), "half"))
    assert not plugin.supports(given, Tensor((1, 19, 9, 9), "half", "hwc8"))
    assert not plugin.supports(given, Tensor((1, 19, 9, 9), "float"))
    preprocess = harness.create("FastAlexPreprocess", _frame_fields(plans)[0])
    frame = (1, 96, 128, 3)
    for kind in ("float", "half", "int8", "uint8"):
        assert preprocess.supports(Tensor(frame, kind)) == (kind in ("int8", "uint8")), kind
    assert preprocess.supports(Tensor(frame, "uint8"), Tensor((1, 3, 63, 63), "float"))
    assert not preprocess.supports(Tensor(frame, "uint8"), Tensor((1, 3, 63, 63), "half"))


def check_shapes(harness: Harness, plans: Plans) -> None:
    """The batch may be unknown, and a wrong input is refused with a message."""
    want = _relu_conv(plans, harness)
    plugin = harness.create(want.plugin, want.fields)
    assert plugin.output(Tensor((-1, 8, 9, 9))).dims == (-1, 19, 9, 9)
    assert plugin.output(Tensor((5, 8, 20, 7))).dims == (5, 19, 20, 7)
    _refused(lambda: plugin.output(Tensor((1, 9, 9, 9))), "field weights of FastAlexConvReLU must have")
    fc = problem(plans, CASES["fc-int8"], "fp32", harness.backend)
    plugin = harness.create(fc.plugin, fc.fields)
    assert plugin.output(Tensor((-1, 403, 1, 1), "half")).kind == "half"
    _refused(lambda: plugin.output(Tensor((1, 403, 2, 1))), "it gets 403 x 2 x 1")


def check_batches(harness: Harness, plans: Plans) -> None:
    """A workspace for the largest batch is enough for each smaller one, and the results do not depend on the batch."""
    for name in ("conv-3x3-long-sum", "fc-int8-batch9-relu"):
        case = CASES[name]
        for precision, kind in KINDS.items():
            want = problem(plans, case, precision, harness.backend)
            plugin = harness.create(want.plugin, want.fields)
            for n in (1, 2, 5):
                x = np.concatenate([want.x[:1]] * n)
                given = Tensor(x.shape, kind)
                result = plugin.run(x, given, plugin.output(given), most=9)
                one = want._replace(reference=want.reference[:1], bound=want.bound[:1])
                for image in result:
                    assert_right(image[None], one, (name, precision, n))


def check_serialized(harness: Harness, plans: Plans) -> None:
    """A deserialized plugin and a clone serialize to the same bytes and compute the same bits."""
    for name in ("conv-5x5-pad2-groups2", "fc-int4", "lrn-9-wider-than-groups", "lrn-pool-relu-groups"):
        case = next(case for case in cases() if case.name == name)
        want = problem(plans, case, "fp32", harness.backend)
        plugin = harness.create(want.plugin, {**want.fields, "tuning": "graphs off\n"})
        data = plugin.serialize()
        again = harness.deserialize(want.plugin, data)
        assert again.serialize() == data, name
        given = Tensor(case.shape)
        out = plugin.output(given)
        results = [each.run(want.x, given, out) for each in (plugin, again, plugin.clone())]
        assert_right(results[0], want, name)
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other, err_msg=name)
    fields = _frame_fields(plans)[0]
    data = harness.create("FastAlexPreprocess", fields).serialize()
    assert harness.deserialize("FastAlexPreprocess", data).serialize() == data


def check_clones(harness: Harness, plans: Plans) -> None:
    """A clone outlives the plugin that it was made from."""
    want = _relu_conv(plans, harness)
    clone = harness.create(want.plugin, want.fields).clone()
    given = Tensor(want.x.shape)
    assert_right(clone.run(want.x, given, clone.output(given)), want, "clone")


def _refused(body: Callable[[], Any], sentence: str) -> None:
    try:
        body()
    except PluginError as error:
        assert sentence in str(error), (sentence, str(error))
        return
    raise AssertionError("this should have been refused: " + sentence)


def check_bad_fields(harness: Harness, plans: Plans) -> None:
    """Each error names the field."""
    conv = _relu_conv(plans, harness).fields
    lrn = problem(plans, PAIRS[0], "fp32", harness.backend).fields
    fc = problem(plans, CASES["fc-int4"], "fp32", harness.backend).fields
    frame = _frame_fields(plans)[0]
    one = lambda value: np.array([value], np.int32)  # noqa: E731
    wrong = (
        (NAMES[0], conv, {"weights": None}, "FastAlexConvReLU needs the field weights"),
        (NAMES[0], conv, {"color": one(1)}, "FastAlexConvReLU has no field color; its fields are weights, bias"),
        (NAMES[0], conv, {"kernel": np.float32([3])}, "field kernel of FastAlexConvReLU must be of type kINT32"),
        (NAMES[0], conv, {"kernel": np.int32([3, 3])}, "field kernel of FastAlexConvReLU must have 1 value, not 2"),
        (NAMES[0], conv, {"kernel": UNKNOWN}, "field kernel is of a type"),
        (NAMES[0], conv, {"kernel": one(5)}, "which is no multiple of its 19 biases times 5 x 5"),
        (NAMES[0], conv, {"stride": one(0)}, "stride=0 is out of range"),
        (NAMES[0], conv, {"pad": one(3)}, "pad must be smaller than kernel"),
        (NAMES[0], conv, {"groups": one(-2)}, "field groups of FastAlexConvReLU must be at least 1, not -2"),
        (NAMES[0], conv, {"groups": one(2)}, "cannot be split into 2 groups"),
        (NAMES[0], conv, {"rounding": one(7)}, "field rounding of FastAlexConvReLU must be 0 (floor) or 1 (ceil)"),
        (NAMES[0], conv, {"activation": one(3)}, "field activation of FastAlexConvReLU must be 0 (none), 1 (relu)"),
        (NAMES[0], conv, {"serial_version": one(2)}, "has serial version 2, this fastalex reads 1 to 1"),
        (NAMES[1], lrn, {"size": one(4)}, "size must be odd"),
        (NAMES[1], lrn, {"order": one(3)}, "field order of FastAlexLRNPool must be 0"),
        (NAMES[1], lrn, {"alpha": np.float64([np.nan])}, "alpha"),
        (NAMES[1], lrn, {"divide_alpha": one(2)}, "field divide_alpha of FastAlexLRNPool must be 0 or 1, not 2"),
        (NAMES[1], lrn, {"kernel": one(0)}, "kernel=0 is out of range"),
        (NAMES[2], fc, {"storage": one(1)}, "field storage of FastAlexFullyConnectedW8 must be 2 (int8) or 3 (int4)"),
        (NAMES[2], fc, {"storage": one(2)}, "field weights of FastAlexFullyConnectedW8 must have 14911 values"),
        (NAMES[2], fc, {"scale": fc["scale"][1:]}, "field scale of FastAlexFullyConnectedW8 must have 148 values"),
        (NAMES[2], fc, {"scale": fc["scale"] * 0 + np.float32(0.1)}, "must have values of fp16"),
        (NAMES[2], fc, {"scale": fc["scale"] * np.nan}, "field scale of FastAlexFullyConnectedW8 must be finite"),
        (NAMES[2], fc, {"input": np.int32([403, 1])}, "field input of FastAlexFullyConnectedW8 must have 3 values"),
        (NAMES[3], frame, {"filter": one(3)}, "field filter of FastAlexPreprocess must be from 0 to 2, not 3"),
        (NAMES[3], frame, {"crop": np.int32([900, 0])}, "reach beyond its field resized"),
        (NAMES[3], frame, {"scale": np.float32([1, np.inf, 1])}, "field scale of FastAlexPreprocess must be finite"),
    )
    for name, good, change, sentence in wrong:
        fields = {key: value for key, value in {**good, **change}.items() if value is not None}
        _refused(lambda name=name, fields=fields: harness.create(name, fields), sentence)


def check_tuning(harness: Harness, plans: Plans) -> None:
    """The field chooses the kernel; a rule that cannot be followed fails with a message when the plugin runs."""
    want = _relu_conv(plans, harness)
    given, key = Tensor(want.x.shape), "conv:8x3x3/1:19"
    case = CASES["conv-3x3-relu"]
    candidates = [one["name"] for one in describe(case, backend=harness.backend)["candidates"]]
    assert len(candidates) > 1
    for candidate in candidates:
        plugin = harness.create(want.plugin, {**want.fields, "tuning": f"fp32 {key} 1-9 {candidate}"})
        arithmetic = native.arithmetic_of(case, harness.backend, tuning=f"fp32 {key} 1-9 {candidate}")
        bound = bounds.error_bound(case, *case.random(), want.reference, arithmetic)
        assert_right(plugin.run(want.x, given, plugin.output(given)), want._replace(bound=bound), candidate)
    plugin = harness.create(want.plugin, {**want.fields, "tuning": f"fp32 {key} 1-9 nonsense"})
    _refused(lambda: plugin.enqueue(given, plugin.output(given), 0, 0, 0), "a tuning rule names nonsense")


def _frame_fields(plans: Plans, name: str = "torchvision", precision: int = 0) -> Tuple[Fields, np.ndarray]:
    coarse = np.random.default_rng(2).integers(0, 256, (5, 6, 3)).astype(np.float32)
    frame = np.rint(images.linear_resize(coarse, 96, 128)).astype(np.uint8)
    spec = frames.spec(ArrayView(frame, frame, 0), "BGR", PROFILES[name], 63)
    return plans.frame(spec, 63, precision), frame


def check_preprocess(harness: Harness, plans: Plans) -> None:
    """Frames become what fastalex.images makes of them, but for the rounding of the normalization."""
    for name in ("torchvision", "caffe", "jetson-inference"):
        for precision, kind in enumerate(("float", "half")):
            fields, frame = _frame_fields(plans, name, precision)
            batch = np.stack([frame, frame[::-1], 255 - frame])
            plugin = harness.create("FastAlexPreprocess", fields)
            expected = images.preprocess(list(batch), name, size=63, bgr=True).astype(np.float64)
            for bits in ("uint8", "int8"):
                given = Tensor(batch.shape, bits)
                out = plugin.output(given)
                assert (out.dims, out.kind) == ((3, 3, 63, 63), kind)
                result = plugin.run(batch.view(bits), given, out).astype(np.float64)
                # A product, a difference and what made scale and shift, on both sides.
                terms = 255 * np.abs(fields["scale"]).max() + np.abs(fields["shift"]).max()
                bound = bounds.gamma(8) * terms + (bounds.U16 * np.abs(expected) if precision else 0)
                assert np.abs(expected).max() > 1
                assert (np.abs(result - expected) <= bound).all(), (name, kind, bits, np.abs(result - expected).max())


CHECKS = (
    check_creators,
    check_formats,
    check_shapes,
    check_batches,
    check_serialized,
    check_clones,
    check_bad_fields,
    check_tuning,
    check_preprocess,
)


def run(harness: Harness, plans: Plans) -> List[str]:
    """Run every check and a few cases; return the failures."""
    failed = []
    for check in (*CHECKS, lambda *args: check_results(*args, names=FEW)):
        try:
            check(harness, plans)
        except Exception:  # noqa: BLE001
            failed.append(f"{getattr(check, '__name__', 'check_results')}: {traceback.format_exc()}")
    return failed


def main(built: str, harness: str, lean: str, library: str) -> None:
    """Run all checks on objects from the registry of a lean runtime, in this process."""
    emulated.load()
    objects = Harness(Path(harness), emulated.BACKEND, lean, library)
    failed = run(objects, Plans(Path(built) / "libharness_op.so"))
    for each in failed:
        print(each)
    if failed:
        sys.exit(f"{len(failed)} checks failed")
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
