"""The architecture of a network of the family: the fields of a :class:`Variant`, and the layers that follow from them.

Sources named in brackets are listed in :mod:`fastalex.networks.variants`.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from .. import _core
from .._util.arguments import at_least, boolean, brief, finite, one_of, positive_int, short_text
from ..errors import UserError
from . import activations
from .layers import Layer, Shape, first_fc_input, layer_table

ROUNDINGS = ("floor", "ceil")
OUTPUTS = ("logits", "softmax", "sigmoid")
BLOCK_OPS = ("conv", "act", "lrn", "spatial_norm", "pool")
PROBABILITY = "prob"  # name of the softmax or sigmoid at the end of a network whose output is not its logits
MAX_NAME, MAX_SUMMARY = 100, 1000  # characters
MAX_OPS = 16  # of a block
MAX_SIDE = 1 << 24  # of anything; kMaxSide of csrc/core/plan.cpp
MAX_INPUT_SIZE = 4096  # pixels; a network takes memory and time by the square of it
OVERLAPPING = 3  # side of the window of an overlapping pool, whose stride is 2 [paper] section 3.4


@dataclass(frozen=True)
class LRN:
    """Local response normalization across channels: ``b = a / (k + alpha' * sum(a^2)) ** beta``.

    The sum runs over ``size`` neighboring channels and is cut off at the first and the last channel.
    ``alpha'`` is ``alpha / size`` if ``alpha_divided`` (every released implementation: [source], [caffe], torch, ONNX),
    else ``alpha`` (the formula as printed in [paper] section 3.3). ``crosses_columns`` is True if the window crosses
    the boundary between the columns of a grouped network, as on Caffe's single device but not on two GPUs.
    """

    size: int = 5
    alpha: float = 1e-4
    alpha_divided: bool = True
    beta: float = 0.75
    k: float = 2.0
    crosses_columns: bool = False

    def __post_init__(self) -> None:
        _check_constants("LRN", self)
        boolean("alpha_divided of LRN", self.alpha_divided)
        boolean("crosses_columns of LRN", self.crosses_columns)

    @property
    def effective_alpha(self) -> float:
        """The factor in front of the sum of squares."""
        return self.alpha / self.size if self.alpha_divided else self.alpha


@dataclass(frozen=True)
class SpatialNorm:
    """Response normalization within a channel: ``b = a / (k + alpha / size^2 * sum(a^2)) ** beta``.

    The sum runs over a ``size`` x ``size`` window and is cut off at the borders. [source] ``cnorm2a/b`` of
    configuration 145: scale 0.001, which ``layer.py`` divides by ``size ** 2``; the constant 1 is in the CUDA kernel.
    """

    size: int = 5
    alpha: float = 1e-3
    beta: float = 0.75
    k: float = 1.0

    def __post_init__(self) -> None:
        _check_constants("spatial normalization", self)

    @property
    def effective_alpha(self) -> float:
        """The factor in front of the sum of squares."""
        return self.alpha / self.size**2


@dataclass(frozen=True)
class Variant:
    """A member of the family. Every field may be overridden with :func:`get`.

    * ``widths``: outputs of conv1 to conv5, fc6 and fc7.
    * ``columns``: number of groups of conv2, conv4 and conv5.
    * ``blocks``: the ops of each convolutional block, in order.
    * ``conv_rounding``, ``pool_rounding``: rounding of a window count that is not a whole number. ``floor`` drops the
      remainder, ``ceil`` lets the last window overhang the input (a convolution reads zeros there, a pool nothing).
    * ``adaptive_pool``: side to which the last map is averaged, so that the network takes larger and smaller inputs.
    * ``pool_kernel``: side of a pool's window, whose stride is 2: windows of 3 overlap ([paper] section 3.4), of 2 not.
    * ``activation``: ``relu``, ``tanh``, ``sigmoid`` or ``leaky_relu(slope)`` for all layers, or a tuple of seven such
      words for conv1 to conv5, fc6 and fc7, in which ``none`` means no activation.
    * ``naming``: style of the parameter names, ``caffe`` (``conv1.weight``) or ``torchvision``
      (``features.0.weight``).
    * ``output``: the result of the network, ``logits`` or their ``softmax`` or ``sigmoid``.
    * ``profile``: the preprocessing of :mod:`fastalex.images` for this network.
    """

    name: str
    summary: str
    input_size: int
    widths: Tuple[int, ...]
    num_classes: int
    columns: int
    conv1_pad: int
    conv_rounding: str
    pool_rounding: str
    blocks: Tuple[str, ...]
    lrn: Optional[LRN]
    profile: str
    naming: str
    spatial_norm: Optional[SpatialNorm] = None
    adaptive_pool: Optional[int] = None
    activation: Union[str, Tuple[str, ...]] = "relu"
    dropout_first: bool = False
    pool_kernel: int = OVERLAPPING
    channels: int = 3
    output: str = "logits"

    def __post_init__(self) -> None:
        for name in ("widths", "blocks", "activation"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        _check(self)

    def layers(self, input_size: Union[int, Tuple[int, int], None] = None) -> List[Layer]:
        """Return the layer table for images of ``input_size``.

        :param input_size: a side or ``(height, width)``; None for the row's own ``input_size``.
        :raises UserError: if the images are too small, or their flattened map does not fit the first fc layer.
        """
        size = self.input_size if input_size is None else input_size
        height, width = (size, size) if isinstance(size, int) else size
        table = expand(self, (self.channels, height, width))
        fc6_in = first_fc_input(table)
        if self.adaptive_pool is None and (height, width) != (self.input_size, self.input_size):
            native = first_fc_input(expand(self, (self.channels, self.input_size, self.input_size)))
            if native != fc6_in:
                raise UserError(
                    f"{self.name} has no adaptive pool, so its first fc layer needs {self.input_size} x "
                    f"{self.input_size} images; got {height} x {width}"
                )
        return table

    def parameter_shapes(self) -> Dict[str, Shape]:
        """Return the shape of each parameter by name, in the order of the layers."""
        shapes: Dict[str, Shape] = {}
        for layer in self.layers():
            shapes.update(layer.param_shapes)
        return shapes

    @property
    def params(self) -> int:
        """Number of parameters."""
        return sum(layer.params for layer in self.layers())

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image of the row's own input size."""
        return sum(layer.macs for layer in self.layers())

    def to_dict(self) -> Dict[str, Any]:
        """Return the row as plain values for the header of a weights file, the inverse of :func:`from_dict`.

        Fields with their default values that earlier releases did not have are left out, so that those can read it.
        """
        values = dataclasses.asdict(self)
        if self.pool_kernel == OVERLAPPING:
            del values["pool_kernel"]
        if self.output == OUTPUTS[0]:
            del values["output"]
        return values


def _check_constants(what: str, norm: Union[LRN, SpatialNorm]) -> None:
    _side(f"size of {what}", norm.size)
    for name in ("alpha", "beta", "k"):
        finite(f"{name} of {what}", getattr(norm, name))


def _side(name: str, value: Any, largest: int = MAX_SIDE) -> None:
    """Check that a field is a whole number from 1 to ``largest``."""
    if positive_int(name, value) > largest:
        raise UserError(f"{name} must be at most {largest}, not {brief(value)}")


def _check(row: Variant) -> None:
    """Check that ``row`` describes a network: every field, since it may come from a file.

    :raises UserError: naming the first field that is wrong.
    """
    short_text("the name of a variant", row.name, MAX_NAME)
    short_text(f"summary of {row.name}", row.summary, MAX_SUMMARY)
    short_text(f"profile of {row.name}", row.profile, MAX_NAME)
    if not isinstance(row.widths, tuple) or len(row.widths) != 7:
        count = len(row.widths) if isinstance(row.widths, tuple) else brief(row.widths)
        raise UserError(f"widths of {row.name} must be seven numbers (conv1-5, fc6, fc7), not {count}")
    for width in row.widths:
        _side(f"widths of {row.name}", width)
    for name in ("num_classes", "columns", "channels", "pool_kernel"):
        _side(f"{name} of {row.name}", getattr(row, name))
    _side(f"input_size of {row.name}", row.input_size, MAX_INPUT_SIZE)
    _side(f"conv1_pad of {row.name}", at_least(f"conv1_pad of {row.name}", row.conv1_pad, 0) or 1)
    _side(f"adaptive_pool of {row.name}", 1 if row.adaptive_pool is None else row.adaptive_pool)
    boolean(f"dropout_first of {row.name}", row.dropout_first)
    one_of("output", row.output, OUTPUTS)
    for rounding in (row.conv_rounding, row.pool_rounding):
        one_of("rounding", rounding, ROUNDINGS)
    one_of("naming", row.naming, ("caffe", "torchvision"))
    for name, kind in (("lrn", LRN), ("spatial_norm", SpatialNorm)):
        if not isinstance(getattr(row, name), (kind, type(None))):
            raise UserError(f"{name} of {row.name} must be {kind.__name__} or None, not {brief(getattr(row, name))}")
    _check_blocks(row)
    activations.check(row.activation, row.blocks)
    for index, grouped in enumerate(GROUPED):
        reads = row.channels if index == 0 else row.widths[index - 1]
        if grouped and (row.widths[index] % row.columns or reads % row.columns):
            raise UserError(
                f"conv{index + 1} of {row.name} cannot be split into {row.columns} columns: {reads} inputs, "
                f"{row.widths[index]} outputs"
            )
    if row.lrn is not None and not row.lrn.crosses_columns and row.widths[0] % row.columns:
        raise UserError(f"norm1 of {row.name} cannot be split into {row.columns} columns")


def _check_blocks(row: Variant) -> None:
    if not isinstance(row.blocks, tuple) or len(row.blocks) != 5:
        count = len(row.blocks) if isinstance(row.blocks, tuple) else brief(row.blocks)
        raise UserError(f"{row.name} must have five convolutional blocks, not {count}")
    for block in row.blocks:
        words = block.split(maxsplit=MAX_OPS) if isinstance(block, str) else []
        if len(words) > MAX_OPS:
            raise UserError(f"{row.name} has a block of more than {MAX_OPS} words")
        if words[:1] != ["conv"] or words.count("conv") != 1 or not set(words) <= set(BLOCK_OPS):
            raise UserError(f"{brief(block)} is not a block: start with conv, then any of {', '.join(BLOCK_OPS[1:])}")
        if "lrn" in words and row.lrn is None:
            raise UserError(f"{row.name} has a block with lrn but no lrn constants")
        if "spatial_norm" in words and row.spatial_norm is None:
            raise UserError(f"{row.name} has a block with spatial_norm but no spatial_norm constants")


_SIDES = ((11, 4), (5, 1), (3, 1), (3, 1), (3, 1))  # kernel and stride of conv1 to conv5 [paper] section 3.5
_PADS = (None, 2, 1, 1, 1)  # of conv1 to conv5; conv1's is a field of the row
_POOL_STRIDE = 2  # [paper] section 3.4
GROUPED = (False, True, False, True, True)  # of conv1 to conv5; conv3 reads both columns [paper] section 3.5


def expand(row: Variant, in_shape: Shape) -> List[Layer]:
    """Return the layers of ``row``, with the shapes that the native engine plans for one image.

    :param in_shape: ``(channels, height, width)`` of the image.
    :raises UserError: if the image is too small for a layer.
    """
    return list(_expanded(row, tuple(in_shape)))


@functools.lru_cache(maxsize=64)
def _expanded(row: Variant, in_shape: Shape) -> Tuple[Layer, ...]:
    rows = _rows(row)
    try:
        shapes = iter(_core.layers(layer_table(rows), in_shape))
    except UserError as error:
        raise UserError(f"{row.name} does not take {in_shape[1]} x {in_shape[2]} images: {error}") from None
    table: List[Layer] = []
    shape: Shape = in_shape
    for layer in rows:
        in_shape, signed = shape, True
        if layer.op != "dropout":
            shape, signed, _, _ = next(shapes)
            if layer.op == "fc" or len(in_shape) == 1:
                shape = shape[:1]
        table.append(dataclasses.replace(layer, in_shape=in_shape, out_shape=shape, signed_input=signed))
    return tuple(table)


def _rows(row: Variant) -> List[Layer]:
    """Return the layers of ``row`` without shapes."""
    rows: List[Layer] = []
    for index, block in enumerate(row.blocks):
        for op in block.split():
            rows += _activation(row, index) if op == "act" else [_LAYERS[op](row, rows, index)]
    if row.adaptive_pool:
        rows.append(_layer("adaptive_avgpool", "avgpool", out=row.adaptive_pool))
    classifier = len(rows)
    for number, width in ((6, row.widths[5]), (7, row.widths[6]), (8, row.num_classes)):
        dropout = [_layer("dropout", f"drop{number}", p=0.5)] if number < 8 else []
        if row.dropout_first:
            rows += dropout
        rows.append(_layer("fc", f"fc{number}", _param_name(row, rows[classifier:], f"fc{number}"), out=width))
        if number < 8:
            rows += _activation(row, number - 1)
        if not row.dropout_first:
            rows += dropout
    if row.output != OUTPUTS[0]:
        rows.append(_layer(row.output, PROBABILITY))
    return rows


def _layer(op: str, name: str, param: str = "", **options: Any) -> Layer:
    return Layer(op, name, (), (), options, param)


def _activation(row: Variant, index: int) -> List[Layer]:
    """Return the activation of layer ``index`` of conv1 to conv5, fc6 and fc7, if it has one."""
    word = activations.of_layer(row.activation, index)
    if word == activations.NONE:
        return []
    op, options = activations.parse(word)
    return [_layer(op, f"{op}{index + 1}", "", **options)]


def _conv(row: Variant, rows: List[Layer], index: int) -> Layer:
    kernel, stride = _SIDES[index]
    name = f"conv{index + 1}"
    return _layer(
        "conv",
        name,
        _param_name(row, rows, name),
        out=row.widths[index],
        kernel=kernel,
        stride=stride,
        pad=row.conv1_pad if index == 0 else _PADS[index],
        groups=row.columns if GROUPED[index] else 1,
        rounding=row.conv_rounding,
    )


def _lrn(row: Variant, rows: List[Layer], index: int) -> Layer:
    lrn = row.lrn
    assert lrn is not None  # _check refuses a block with lrn in a row without its constants
    constants: Dict[str, Any] = {"size": lrn.size, "alpha": lrn.effective_alpha, "beta": lrn.beta, "k": lrn.k}
    return _layer("lrn", f"norm{index + 1}", **constants, groups=1 if lrn.crosses_columns else row.columns)


def _spatial_norm(row: Variant, rows: List[Layer], index: int) -> Layer:
    norm = row.spatial_norm
    assert norm is not None  # as for lrn
    constants: Dict[str, Any] = {"size": norm.size, "alpha": norm.effective_alpha, "beta": norm.beta, "k": norm.k}
    return _layer("spatial_norm", f"cnorm{index + 1}", **constants)


def _pool(row: Variant, rows: List[Layer], index: int) -> Layer:
    name = f"pool{index + 1}"
    return _layer("maxpool", name, kernel=row.pool_kernel, stride=_POOL_STRIDE, rounding=row.pool_rounding)


_LAYERS: Dict[str, Callable[[Variant, List[Layer], int], Layer]] = {
    "conv": _conv,
    "lrn": _lrn,
    "spatial_norm": _spatial_norm,
    "pool": _pool,
}


def module_paths(row: Variant) -> List[Tuple[str, Layer]]:
    """Return each layer of ``row`` with the path of its module: torchvision's (``features.0``) or the layer's own name.

    For layers with parameters the path is ``Layer.param``.
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
            path = f"features.{index}"
        else:
            path = f"classifier.{index - classifier}"
        paths.append((path, layer))
    return paths


def _param_name(row: Variant, before: List[Layer], name: str) -> str:
    """Return the prefix of a layer's parameters: its name for Caffe, its index in a container for torchvision."""
    if row.naming == "caffe":
        return name
    return f"{'features' if name.startswith('conv') else 'classifier'}.{len(before)}"
