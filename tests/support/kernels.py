"""Every candidate of a CUDA kernel, and the layers of the family in sampled blocks. On the emulator."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from cuda_emulator.emulated import BACKEND, pretend
from fastalex import _core
from fastalex.runtime.precisions import SUPPORTED
from fastalex.selftest import bounds, checks, native
from fastalex.selftest.cases import STORAGES, real

PRECISIONS = ("fp32", "fp16")
#: Number of blocks sampled from a large launch: all corners and some others. `--full` runs whole layers, seconds each.
SAMPLED_BLOCKS = 6

#: A variant whose columns of 12 channels are not whole vectors, so the fallback serves some of its layers.
NARROW = "alexnet-digits/"


def describe(case, precision="fp32", tuning="", backend=BACKEND):
    """The first step of the backend's plan."""
    _, params = case.random()
    if precision == "fp16" and case.storage == "fp32":
        case = dataclasses.replace(case, storage="fp16")
    net = _core.Net(
        case.table,
        list(case.shape[1:]),
        params,
        backend,
        STORAGES.index(case.storage),
        precision=PRECISIONS.index(precision),
        tuning=tuning,
    )
    return json.loads(net.describe(_core.Call(shape=(case.shape[0], *case.shape[2:]))))["steps"][0]


def rules(case, precision, backend=BACKEND):
    """A tuning line for each candidate of the case, whole and in as many parts as it can be split, and one less."""
    step = describe(case, precision, backend=backend)
    for candidate in step["candidates"]:
        for split in sorted({1, max(1, candidate["max_split"] - 1), candidate["max_split"]}):
            yield f"{step['key']} 1-{1 << 20} {candidate['name']} split={split}", candidate["name"]


def layers():
    """The layers of the family, fully connected ones with each kind of weights.

    Sums that differ in the name alone, or in how the variant rounds a size that needs no rounding, are one.
    """
    seen = set()
    for case in real():
        kind = tuple(case.options[key] for key in case.options if key not in ("name", "rounding")), case.shape
        if case.op == "softmax" or (case.op in ("conv", "fc") and kind in seen):
            continue
        seen.add(kind)
        if case.op == "fc":
            for storage in SUPPORTED["cuda"]["fp32"]:
                yield dataclasses.replace(case, storage=storage, name=f"{case.name}-{storage}")
        else:
            yield case


def narrowed(case):
    """Fewer outputs of the largest layers; the sums are as long as they were."""
    table = case.table.replace(" out=4096", " out=136").replace(" out=1000", " out=136")
    return dataclasses.replace(case, table=table) if case.op == "fc" else case


class StandardLayer:
    """A layer with its reference results, which are the same for all kernels."""

    def __init__(self, case, precision, backend=BACKEND):
        x, params = case.random()
        if precision == "fp16":
            x = x.astype(np.float16).astype(np.float32)
            case = dataclasses.replace(case, storage="fp16") if case.storage == "fp32" else case
        self.case, self.precision, self.x, self.params, self.backend = case, precision, x, params, backend
        self.kept = native.stored_params(case, params, backend, precision)
        self.reference = native.run_native(case.table, x, self.kept, "naive").astype(np.float64)
        self.bounds = {}

    def bound(self, step):
        arithmetic = native.Arithmetic(self.precision == "fp16", step["half_sum"], step["format"])
        if arithmetic not in self.bounds:
            self.bounds[arithmetic] = bounds.error_bound(self.case, self.x, self.kept, self.reference, arithmetic)
        return self.bounds[arithmetic]

    def served(self, rule):
        """A net that follows the rule, and the step that serves the layer in it."""
        net = _core.Net(
            self.case.table,
            list(self.case.shape[1:]),
            self.params,
            self.backend,
            STORAGES.index(self.case.storage),
            precision=PRECISIONS.index(self.precision),
            tuning=rule,
        )
        return net, json.loads(net.describe(_core.Call(self.x)))["steps"][0]

    def outcome(self, rule):
        """Outcome of a whole run after a run on NaN, which exposes reads of unwritten memory."""
        net, step = self.served(rule)
        native.output(net, np.full_like(self.x, np.nan))
        return checks.compare(self.case, self.backend, native.output(net, self.x), self.reference, self.bound(step))

    def check(self, rule, blocks):
        """The blocks that ran are right, and they are as many values as they should be."""
        net, step = self.served(rule)
        assert not step["general"] or self.case.name.startswith(NARROW), "the fallback serves a standard layer"
        in_parts = step["split"] > 1 and step["candidate"].startswith(("stream", "columns"))
        if in_parts or step["format"].startswith("winograd"):
            blocks = None  # a kernel reads results of the previous one from other blocks
        with pretend(blocks=blocks, kernel=step["kernels"][0]["name"]):
            result = native.output(net, self.x).astype(np.float64)
        ran = ~np.isnan(result)
        share = blocks / np.prod(step["kernels"][0]["grid"]) if blocks else 1.0
        assert ran.all() if share >= 1 else ran.mean() > 0.5 * share, (rule, ran.mean(), share)
        error, bound = np.abs(result - self.reference)[ran], self.bound(step)[ran]
        assert (error <= bound).all(), (rule, error.max(), (error / bound).max())
