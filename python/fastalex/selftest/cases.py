"""The op cases: one table for the self-test, the tests and new backends.

A case is a net of one layer, with an op that is fused into it or follows it in some cases, and the shape of its input.
The layers have the text form of ``csrc/include/fastalex.h``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Dict, List, Tuple

import numpy as np

from ..networks.architecture import Variant
from ..networks.layers import layer_table
from ..networks.variants import VARIANTS
from ..runtime.precisions import FC_STORAGES

STORAGES = FC_STORAGES


@dataclass(frozen=True)
class Case:
    """A layer and its input.

    ``table`` is the layer table; if a line has parameters, it is the first. ``shape`` is ``(N, C, H, W)`` of the input,
    whose mean is 0 and whose standard deviation is ``scale``. ``storage`` is the format of fully connected weights
    (:data:`STORAGES`). ``small`` cases belong to the self-test, which must be quick; the others are the layers of the
    family at full size.
    """

    name: str
    table: str
    shape: Tuple[int, int, int, int]
    scale: float = 1.0
    storage: str = "fp32"
    small: bool = True

    @property
    def ops(self) -> List[str]:
        """The op of each line."""
        return [line.split()[0] for line in self.table.splitlines()]

    @property
    def op(self) -> str:
        """The op under test: that of the first line, or the softmax after it."""
        return self.ops[-1] if self.ops[-1] == "softmax" else self.ops[0]

    @property
    def first_line(self) -> str:
        """The layer with the parameters, without the ops after it."""
        return self.table.splitlines()[0]

    @property
    def options(self) -> Dict[str, str]:
        """The key=value words of the first line."""
        return dict(word.split("=", 1) for word in self.first_line.split()[1:])

    @property
    def products(self) -> int:
        """Number of products in each output of a conv or fc layer."""
        _, channels, height, width = self.shape
        if self.ops[0] == "fc":
            return channels * height * width
        return channels // int(self.options["groups"]) * int(self.options["kernel"]) ** 2

    @property
    def param_shapes(self) -> List[Tuple[int, ...]]:
        """The shapes of weight and bias; empty for a layer without parameters."""
        if self.ops[0] not in ("conv", "fc"):
            return []
        outputs = int(self.options["out"])
        if self.ops[0] == "fc":
            return [(outputs, self.products), (outputs,)]
        kernel = int(self.options["kernel"])
        return [(outputs, self.products // kernel**2, kernel, kernel), (outputs,)]

    def random(self, seed: int = 0) -> Tuple[np.ndarray, List[np.ndarray]]:
        """Make random input and parameters, float32, the same for the same name and ``seed``.

        Weights are scaled by ``1 / sqrt(products)``, so that outputs are about as large as inputs; biases are as large.
        """
        generator = np.random.default_rng([zlib.crc32(self.name.encode()), seed])
        x = generator.standard_normal(self.shape, np.float32) * np.float32(self.scale)
        params = [generator.standard_normal(shape, np.float32) for shape in self.param_shapes]
        if params:
            params[0] *= np.float32(self.products**-0.5)
        return x, params


def _conv(out: int, kernel: int, stride: int = 1, pad: int = 0, groups: int = 1, rounding: str = "floor") -> str:
    words = (out, kernel, stride, pad, groups, rounding)
    return "conv name=conv out=%d kernel=%d stride=%d pad=%d groups=%d rounding=%s" % words


def _lrn(size: int, alpha: float, beta: float = 0.75, k: float = 2.0, groups: int = 1) -> str:
    return f"lrn name=lrn size={size} alpha={alpha} beta={beta} k={k} groups={groups}"


def _spatial(size: int, alpha: float, beta: float = 0.75, k: float = 1.0) -> str:
    return f"spatial_norm name=cnorm size={size} alpha={alpha} beta={beta} k={k}"


def _pool(kernel: int, stride: int, rounding: str = "floor") -> str:
    return f"maxpool name=pool kernel={kernel} stride={stride} rounding={rounding}"


def _fc(out: int) -> str:
    return f"fc name=fc out={out}"


_RELU, _TANH, _SOFTMAX = "\nrelu name=act", "\ntanh name=act", "\nsoftmax name=prob"
_SIGMOID, _LEAKY = "\nsigmoid name=act", "\nleaky_relu name=act alpha=%s"

# Widths that are no multiple of a vector, maps with a special last row, column or window, batches above and below the
# number of rows that a backend computes at once, and sums that are long enough to be split into blocks.
_SMALL = (
    Case("conv-11x11/4", _conv(24, 11, 4), (1, 3, 35, 35)),
    Case("conv-11x11/4-pad2", _conv(16, 11, 4, 2), (2, 3, 30, 27)),
    Case("conv-11x11/4-ceil-overhang", _conv(9, 11, 4, 0, 1, "ceil"), (1, 3, 32, 29)),
    Case("conv-5x5-pad2-groups2", _conv(32, 5, 1, 2, 2), (1, 24, 13, 11)),
    Case("conv-5x5-16", _conv(20, 5, 1, 1), (2, 16, 7, 10)),
    Case("conv-3x3-pad1", _conv(33, 3, 1, 1), (1, 17, 13, 13)),
    Case("conv-3x3-pad1-groups2-odd", _conv(26, 3, 1, 1, 2), (2, 10, 7, 9)),
    Case("conv-3x3-groups3", _conv(21, 3, 2, 1, 3), (1, 9, 10, 9)),
    Case("conv-3x3-long-sum", _conv(5, 3, 1, 1), (1, 67, 5, 5)),
    Case("conv-1x1", _conv(3, 1), (3, 1, 4, 5)),
    Case("conv-2x2/3-stride-over-kernel", _conv(7, 2, 3), (1, 5, 11, 12)),
    Case("conv-2x2/3-ceil", _conv(7, 2, 3, 0, 1, "ceil"), (1, 5, 12, 10)),
    Case("conv-whole-image", _conv(11, 6), (2, 4, 6, 6)),
    Case("conv-3x3-relu", _conv(19, 3, 1, 1) + _RELU, (1, 8, 9, 9)),
    Case("conv-3x3-tanh", _conv(19, 3, 1, 1) + _TANH, (1, 8, 9, 9)),
    Case("conv-3x3-sigmoid", _conv(19, 3, 1, 1) + _SIGMOID, (1, 8, 9, 9)),
    Case("conv-3x3-leaky", _conv(19, 3, 1, 1) + _LEAKY % 0.1, (2, 8, 9, 9)),
    Case("fc-odd", _fc(37), (1, 7, 3, 3)),
    Case("fc-one-output", _fc(1), (3, 129, 1, 1)),
    Case("fc-long-sum", _fc(65), (2, 1001, 1, 1)),
    Case("fc-batch9-relu", _fc(31) + _RELU, (9, 10, 4, 3)),
    Case("fc-batch17-tanh", _fc(50) + _TANH, (17, 61, 1, 1)),
    Case("fc-batch5-sigmoid", _fc(33) + _SIGMOID, (5, 61, 1, 1), scale=3.0),
    Case("fc-batch2-leaky", _fc(33) + _LEAKY % 0.2, (2, 61, 1, 1)),
    Case("fc-fp16", _fc(37), (1, 403, 1, 1), storage="fp16"),
    Case("fc-fp16-batch9", _fc(37), (9, 403, 1, 1), storage="fp16"),
    Case("fc-bf16", _fc(37), (1, 403, 1, 1), storage="bf16"),
    Case("fc-bf16-batch9-relu", _fc(37) + _RELU, (9, 403, 1, 1), storage="bf16"),
    Case("fc-int8", _fc(37), (1, 403, 1, 1), storage="int8"),
    Case("fc-int4", _fc(37), (1, 403, 1, 1), storage="int4"),
    Case("fc-int4-batch9-relu", _fc(37) + _RELU, (9, 403, 1, 1), storage="int4"),
    Case("fc-int4-map", _fc(19), (2, 13, 5, 4), storage="int4"),
    Case("fc-int8-batch9-relu", _fc(37) + _RELU, (9, 403, 1, 1), storage="int8"),
    Case("fc-fp16-wide", _fc(501), (1, 403, 1, 1), storage="fp16"),
    Case("fc-int8-wide-relu", _fc(500) + _RELU, (2, 403, 1, 1), storage="int8"),
    Case("fc-int4-wide-map", _fc(1001), (1, 16, 5, 4), storage="int4"),
    Case("fc-int4-wide-batch2", _fc(990), (2, 403, 1, 1), storage="int4"),
    Case("lrn-5-groups2", _lrn(5, 2e-5, groups=2), (1, 22, 7, 5)),
    Case("lrn-5-caffe-scale", _lrn(5, 2e-5, k=1.0), (2, 96, 3, 5), scale=100.0),
    Case("lrn-5-large-alpha", _lrn(5, 1.5), (1, 31, 4, 4)),
    Case("lrn-1", _lrn(1, 0.1), (1, 13, 5, 5)),
    Case("lrn-3-beta0.5", _lrn(3, 0.2, beta=0.5), (1, 16, 5, 6)),
    Case("lrn-9-k1", _lrn(9, 0.05, k=1.0), (1, 40, 3, 3)),
    Case("lrn-9-wider-than-groups", _lrn(9, 0.3, groups=4), (1, 12, 3, 4)),
    Case("lrn-5-many-channels", _lrn(5, 0.1), (1, 1031, 1, 2)),
    Case("lrn-63", _lrn(63, 1e-3), (1, 541, 2, 1)),
    Case("spatial-5", _spatial(5, 4e-5), (1, 13, 9, 8), scale=30.0),
    Case("spatial-3-beta0.5", _spatial(3, 0.1, beta=0.5, k=2.0), (2, 5, 6, 7)),
    Case("spatial-7-wider-than-image", _spatial(7, 0.05), (1, 6, 3, 4)),
    Case("maxpool-3/2-floor", _pool(3, 2), (2, 19, 14, 13)),
    Case("maxpool-3/2-ceil", _pool(3, 2, "ceil"), (1, 19, 14, 12)),
    Case("maxpool-2/3-ceil", _pool(2, 3, "ceil"), (1, 6, 7, 8)),
    Case("maxpool-3/2-relu", _pool(3, 2) + _RELU, (1, 33, 8, 9)),
    Case("avgpool-down", "adaptive_avgpool name=avgpool out=6", (1, 17, 13, 11)),
    Case("avgpool-up", "adaptive_avgpool name=avgpool out=6", (2, 9, 3, 4)),
    Case("avgpool-same", "adaptive_avgpool name=avgpool out=6", (1, 5, 6, 6)),
    Case("relu", "relu name=act", (2, 11, 5, 7)),
    Case("tanh", "tanh name=act", (2, 11, 5, 7), scale=2.0),
    Case("sigmoid", "sigmoid name=act", (2, 11, 5, 7), scale=4.0),
    Case("sigmoid-of-large-values", "sigmoid name=act", (1, 13, 4, 3), scale=60.0),
    Case("leaky_relu", "leaky_relu name=act alpha=0.01", (2, 11, 5, 7)),
    Case("leaky_relu-of-slope-above-1", "leaky_relu name=act alpha=-1.7", (1, 6, 5, 7)),
    Case("softmax", _fc(101) + _SOFTMAX, (5, 77, 1, 1), scale=2.0),
    Case("softmax-large-logits", _fc(5) + _SOFTMAX, (9, 1, 1, 1), scale=60.0),
    Case("softmax-two-classes", _fc(2) + _SOFTMAX, (6, 12, 2, 2)),
)


def layers_of(row: Variant) -> List[Case]:
    """Make a case of each layer of a network at its own size, without dropout and ReLU, which are exact at any size."""
    cases = []
    for layer in row.layers():
        if layer.op in ("dropout", "relu"):
            continue
        channels, height, width = (*layer.in_shape, 1, 1)[:3]
        name = f"{row.name}/{layer.name}"
        table = layer_table([layer]).strip()
        cases.append(Case(name, table, (1, channels, height, width), scale=10.0, small=False))
    return cases


def _real() -> List[Case]:
    """Make a case of each layer of each variant at its own size, without repetitions."""
    cases: Dict[Tuple[str, Tuple[int, ...]], Case] = {}
    for row in VARIANTS.values():
        for case in layers_of(row):
            kind = case.table.replace("name=" + case.name.split("/")[1], "")
            cases.setdefault((kind, case.shape), case)
    return list(cases.values())


#: Every case by name: first the small ones, then the layers of the family.
CASES: Dict[str, Case] = {case.name: case for case in (*_SMALL, *_real())}


def small() -> List[Case]:
    """Return the cases of the self-test."""
    return [case for case in CASES.values() if case.small]


def served(case: Case, backend: str) -> bool:
    """Whether a backend supports the case: naive has no weights in fewer bits, and only the CPU has bf16."""
    return case.storage == "fp32" or (backend == "cpu" if case.storage == "bf16" else backend != "naive")


def real() -> List[Case]:
    """Return the layers of the family at full size."""
    return [case for case in CASES.values() if not case.small]
