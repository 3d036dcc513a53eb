"""The layer table: what a :class:`~fastalex.variants.Variant` row means, layer by layer, with its shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

from .errors import UserError

if TYPE_CHECKING:
    from .variants import Variant

# How the engine keeps the weights of fc layers, in the order of fastalex_storage (csrc/include/fastalex.h); which of
# them go with which precision and backend: placement.NUMBERS.
FC_STORAGES = ("fp32", "fp16", "int8", "int4", "bf16")
CPU_FC_STORAGES = FC_STORAGES[:3]  # what benchmarks/run.py measures on a CPU

Shape = Tuple[int, ...]  # per image: (channels, height, width) or (features,)

_SIDES = ((11, 4), (5, 1), (3, 1), (3, 1), (3, 1))  # kernel, stride of conv1..conv5 [paper] section 3.5
_PADS = (None, 2, 1, 1, 1)  # conv1's is the row's own
_POOL_STRIDE = 2  # [paper] section 3.4; the kernel is the row's own
GROUPED = (False, True, False, True, True)  # conv3 reads both columns [paper] section 3.5


@dataclass(frozen=True)
class Layer:
    """One row of the expanded layer table.

    ``op`` is one of conv, relu, tanh, lrn, spatial_norm, maxpool, adaptive_avgpool, dropout, fc, softmax.
    ``options`` holds the op's numbers under the names of the native engine's layer table (``csrc/include/fastalex.h``).
    ``param`` is the prefix of its parameters (``"<param>.weight"``, ``"<param>.bias"``), empty where it has none.
    Shapes are per image.
    """

    op: str
    name: str
    in_shape: Shape
    out_shape: Shape
    options: Mapping[str, Any] = field(default_factory=dict)
    param: str = ""

    @property
    def param_shapes(self) -> Dict[str, Shape]:
        """Parameter name -> shape: conv ``[K, C/groups, R, S]``, fc ``[out, in]``, bias ``[out]``."""
        if self.op == "conv":
            kernel = self.options["kernel"]
            weight = (self.options["out"], self.in_shape[0] // self.options["groups"], kernel, kernel)
        elif self.op == "fc":
            weight = (self.options["out"], _count(self.in_shape))
        else:
            return {}
        return {self.param + ".weight": weight, self.param + ".bias": (weight[0],)}

    @property
    def params(self) -> int:
        """Number of parameters."""
        return sum(_count(shape) for shape in self.param_shapes.values())

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image; products with padding counted, as is usual. Zero but for conv and fc."""
        if not self.param:
            return 0
        weight = self.param_shapes[self.param + ".weight"]
        positions = _count(self.out_shape[1:])
        return _count(weight) * positions

    @property
    def activation_count(self) -> int:
        """Number of values in the output for one image."""
        return _count(self.out_shape)


def layer_table(layers: List[Layer], steps: Optional[Mapping[str, float]] = None) -> str:
    """The layer table in the text form that the native engine reads (grammar: ``csrc/include/fastalex.h``).

    ``steps``: name of a conv or fc layer -> the quantisation step of its input, for precision int8.
    """
    lines = []
    for layer in layers:
        if layer.op == "dropout":  # evaluation mode: the identity
            continue
        words = [layer.op, "name=" + layer.name]
        words += ["%s=%s" % (key, value) for key, value in layer.options.items()]
        if steps is not None and layer.param:
            words.append("step=%r" % float(steps[layer.name]))
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def signed_inputs(table: List[Layer]) -> Dict[str, bool]:
    """Name of each conv and fc layer -> whether its input can be negative, by the ops before it.

    The image is signed, and so is what a conv, an fc or a tanh gives. What a relu gives is not, and it stays so through
    pools and normalisations, which scale by positive numbers. The native engine infers the same from its table.
    """
    found = {}
    signed = True
    for layer in table:
        if layer.param:
            found[layer.name] = signed
        if layer.param or layer.op == "tanh":
            signed = True
        elif layer.op == "relu":
            signed = False
    return found


def name_fused(table: List[Layer], steps: List[Dict[str, Any]]) -> None:
    """Give each of the engine's ``steps``, which name the last layer of what they do, all ``layers`` that they do."""
    order = [layer.name for layer in table if layer.op != "dropout"]
    done = 0
    for step in steps:
        last = step["layers"][-1]
        if last in order[done:]:
            end = order.index(last, done) + 1
            step["layers"], done = order[done:end], end


def expand(row: Variant, in_shape: Shape) -> List[Layer]:
    """The layers of ``row`` for one image of ``in_shape``.

    :raises UserError: if the input is too small for a layer.
    """
    table: List[Layer] = []
    shape = in_shape

    def add(op: str, name: str, out_shape: Shape, param: str = "", **options: Any) -> None:
        nonlocal shape
        table.append(Layer(op, name, shape, out_shape, options, param))
        shape = out_shape

    for index, block in enumerate(row.blocks):
        number = index + 1
        for op in block.split():
            if op == "conv":
                kernel, stride = _SIDES[index]
                pad = row.conv1_pad if index == 0 else _PADS[index]
                sides = _windows(row, "conv%d" % number, shape, kernel, stride, pad, row.conv_rounding)
                add(
                    "conv",
                    "conv%d" % number,
                    (row.widths[index], *sides),
                    _param_name(row, table, "conv%d" % number),
                    out=row.widths[index],
                    kernel=kernel,
                    stride=stride,
                    pad=pad,
                    groups=row.columns if GROUPED[index] else 1,
                    rounding=row.conv_rounding,
                )
            elif op == "act":
                add(row.activation, "%s%d" % (row.activation, number), shape)
            elif op == "lrn":
                lrn = row.lrn
                groups = 1 if lrn.crosses_columns else row.columns
                add(
                    "lrn",
                    "norm%d" % number,
                    shape,
                    size=lrn.size,
                    alpha=lrn.effective_alpha,
                    beta=lrn.beta,
                    k=lrn.k,
                    groups=groups,
                )
            elif op == "spatial_norm":
                norm = row.spatial_norm
                add(
                    "spatial_norm",
                    "cnorm%d" % number,
                    shape,
                    size=norm.size,
                    alpha=norm.effective_alpha,
                    beta=norm.beta,
                    k=norm.k,
                )
            else:
                kernel, stride = row.pool_kernel, _POOL_STRIDE
                sides = _windows(row, "pool%d" % number, shape, kernel, stride, 0, row.pool_rounding)
                add(
                    "maxpool",
                    "pool%d" % number,
                    shape[:1] + sides,
                    kernel=kernel,
                    stride=stride,
                    rounding=row.pool_rounding,
                )
    if row.adaptive_pool:
        add("adaptive_avgpool", "avgpool", (shape[0],) + (row.adaptive_pool,) * 2, out=row.adaptive_pool)
    classifier = len(table)
    for number, width in ((6, row.widths[5]), (7, row.widths[6]), (8, row.num_classes)):
        if number < 8 and row.dropout_first:
            add("dropout", "drop%d" % number, shape, p=0.5)
        add("fc", "fc%d" % number, (width,), _param_name(row, table[classifier:], "fc%d" % number), out=width)
        if number < 8:
            add(row.activation, "%s%d" % (row.activation, number), shape)
            if not row.dropout_first:
                add("dropout", "drop%d" % number, shape, p=0.5)
    return table


def module_paths(row: Variant) -> List[Tuple[str, Layer]]:
    """Each layer of ``row`` with the path of its module: torchvision's (``features.0``) or the layer's own name.

    The paths of layers with parameters agree with ``Layer.param``.
    """
    table = row.layers()
    if row.naming == "caffe":
        return [(layer.name, layer) for layer in table]
    classifier = next(index for index, layer in enumerate(table) if layer.op in ("dropout", "fc"))
    paths = []
    for index, layer in enumerate(table):
        if layer.op == "adaptive_avgpool":
            path = "avgpool"
        elif index < classifier:
            path = "features.%d" % index
        else:
            path = "classifier.%d" % (index - classifier)
        paths.append((path, layer))
    return paths


def _param_name(row: Variant, before: List[Layer], name: str) -> str:
    """torchvision names a parameter by its place in ``features`` or ``classifier``, Caffe by its layer."""
    if row.naming == "caffe":
        return name
    return "%s.%d" % ("features" if name.startswith("conv") else "classifier", len(before))


def _windows(
    row: Variant, name: str, shape: Shape, kernel: int, stride: int, pad: int, rounding: str
) -> Tuple[int, int]:
    sides = []
    for side in shape[1:]:
        room = side + 2 * pad - kernel
        if room < 0:
            raise UserError("the input is too small for %s: %s gets a side of %d" % (row.name, name, side))
        count = -(-room // stride) if rounding == "ceil" else room // stride
        sides.append(count + 1)
    return sides[0], sides[1]


def first_fc_input(table: List[Layer]) -> int:
    return next(_count(layer.in_shape) for layer in table if layer.op == "fc")


def _count(shape: Shape) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
