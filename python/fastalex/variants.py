"""The AlexNet family as data: one literal row per network.

Everything that needs to know the architecture (the plan of the native engine, the PyTorch reference, the
parameter shapes, the layer summary, the predicted timings) is derived from these rows by :meth:`Variant.layers`.
There is no second description.

Sources of the constants, named in the rows:

* [paper] Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
  NIPS 2012, sections 3.3 to 3.5.
* [source] github.com/computerhistory/AlexNet-Source-Code: ``layers/layers-145.cfg``,
  ``layers/layer-params-145.cfg`` and ``layer.py`` (``NormLayerParser`` divides ``scale`` by the window size).
* [cuda-convnet2] github.com/akrizhevsky/cuda-convnet2: ``layers/layers-imagenet-1gpu.cfg`` and
  ``layers/layer-params-imagenet-1gpu.cfg``.
* [caffe] github.com/BVLC/caffe: ``models/bvlc_alexnet/deploy.prototxt``,
  ``models/bvlc_reference_caffenet/deploy.prototxt``; ``src/caffe/layers/pooling_layer.cpp`` rounds up.
* [torchvision] github.com/pytorch/vision: ``torchvision/models/alexnet.py``.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from .errors import UserError
from .layers import GROUPED, Layer, Shape, expand, first_fc_input

ROUNDINGS = ("floor", "ceil")
ACTIVATIONS = ("relu", "tanh")
BLOCK_OPS = ("conv", "act", "lrn", "spatial_norm", "pool")
OVERLAPPING = 3  # side of a pool's window, with stride 2 [paper] section 3.4


@dataclass(frozen=True)
class LRN:
    """Local response normalisation across channels: ``b = a / (k + alpha' * sum(a^2)) ** beta``.

    The sum runs over ``size`` neighbouring channels, cut at the first and last channel.
    ``alpha' = alpha / size`` if ``alpha_divided`` (every released implementation: [source], [caffe], torch, ONNX)
    and ``alpha`` if not (the formula as [paper] section 3.3 prints it). ``crosses_columns`` says whether the window
    runs across the boundary between the columns of a grouped network (Caffe's single device: yes; two GPUs: no).
    """

    size: int = 5
    alpha: float = 1e-4
    alpha_divided: bool = True
    beta: float = 0.75
    k: float = 2.0
    crosses_columns: bool = False

    @property
    def effective_alpha(self) -> float:
        """The factor in front of the sum of squares."""
        return self.alpha / self.size if self.alpha_divided else self.alpha


@dataclass(frozen=True)
class SpatialNorm:
    """Response normalisation within a channel: ``b = a / (k + alpha / size^2 * sum(a^2)) ** beta``.

    The sum runs over a ``size`` x ``size`` window, cut at the borders. [source] ``cnorm2a/b`` of configuration 145:
    scale 0.001, divided by ``size ** 2`` in ``layer.py``; the constant 1 is in the CUDA kernel.
    """

    size: int = 5
    alpha: float = 1e-3
    beta: float = 0.75
    k: float = 1.0

    @property
    def effective_alpha(self) -> float:
        """The factor in front of the sum of squares."""
        return self.alpha / self.size**2


@dataclass(frozen=True)
class Variant:
    """A member of the family. Every field may be overridden with :func:`get`.

    ``widths`` are the outputs of conv1 to conv5, fc6 and fc7. ``columns`` is the number of groups of conv2, conv4 and
    conv5. ``blocks`` gives the order of the steps in each convolutional block. ``*_rounding`` says how a window count
    that does not come out even is rounded: ``floor`` drops the rest, ``ceil`` lets the last window overhang (zeros
    for a convolution, ignored by a pool). ``adaptive_pool`` averages the last map to this size, so that any input from
    ``min_input_size`` up works. ``pool_kernel`` is the side of a pool's window, with stride 2: 3 overlaps ([paper]
    section 3.4), 2 does not. ``naming`` chooses the parameter names: ``caffe`` (``conv1.weight``) or
    ``torchvision`` (``features.0.weight``). ``profile`` is the preprocessing that :mod:`fastalex.images` applies.
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
    activation: str = "relu"
    dropout_first: bool = False
    pool_kernel: int = OVERLAPPING
    channels: int = 3

    def __post_init__(self) -> None:
        _check(self)

    def layers(self, input_size: Union[int, Tuple[int, int], None] = None) -> List[Layer]:
        """The expanded table for an input of ``input_size`` (a side or ``(height, width)``; default: the row's own).

        :raises UserError: if the input is too small, or the flattened size no longer fits the first fc layer.
        """
        size = self.input_size if input_size is None else input_size
        height, width = (size, size) if isinstance(size, int) else size
        table = expand(self, (self.channels, height, width))
        fc6_in = first_fc_input(table)
        if self.adaptive_pool is None and (height, width) != (self.input_size, self.input_size):
            native = first_fc_input(expand(self, (self.channels, self.input_size, self.input_size)))
            if native != fc6_in:
                raise UserError(
                    "%s has no adaptive pool, so its first fc layer needs %d x %d images; got %d x %d"
                    % (self.name, self.input_size, self.input_size, height, width)
                )
        return table

    def parameter_shapes(self) -> Dict[str, Shape]:
        """Parameter name -> shape, in the order of the layers."""
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
        """The row as plain values, for the header of a weights file; :func:`from_dict` reads it back."""
        values = dataclasses.asdict(self)
        if self.pool_kernel == OVERLAPPING:  # releases that know no other read the row, too
            del values["pool_kernel"]
        return values


def _check(row: Variant) -> None:
    """Refuse a row that makes no network, with one sentence that says why."""

    def positive(name: str, *values: Any) -> None:
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError("%s of %s must be a whole number above 0, not %r" % (name, row.name, value))

    if len(row.widths) != 7:
        raise UserError("widths of %s must be seven numbers (conv1-5, fc6, fc7), not %d" % (row.name, len(row.widths)))
    positive("widths", *row.widths)
    positive("num_classes", row.num_classes)
    positive("columns", row.columns)
    positive("input_size", row.input_size)
    positive("channels", row.channels)
    positive("pool_kernel", row.pool_kernel)
    positive("conv1_pad", row.conv1_pad if row.conv1_pad != 0 else 1)
    positive("adaptive_pool", 1 if row.adaptive_pool is None else row.adaptive_pool)
    if row.activation not in ACTIVATIONS:
        raise UserError("activation must be one of %s, not '%s'" % (", ".join(ACTIVATIONS), row.activation))
    for rounding in (row.conv_rounding, row.pool_rounding):
        if rounding not in ROUNDINGS:
            raise UserError("rounding must be one of %s, not '%s'" % (", ".join(ROUNDINGS), rounding))
    if row.naming not in ("caffe", "torchvision"):
        raise UserError("naming must be caffe or torchvision, not '%s'" % row.naming)
    if len(row.blocks) != 5:
        raise UserError("%s must have five convolutional blocks, not %d" % (row.name, len(row.blocks)))
    for block in row.blocks:
        words = block.split()
        if words[:1] != ["conv"] or words.count("conv") != 1 or not set(words) <= set(BLOCK_OPS):
            raise UserError("'%s' is not a block: start with conv, then any of %s" % (block, ", ".join(BLOCK_OPS[1:])))
        if "lrn" in words and row.lrn is None:
            raise UserError("%s has a block with lrn but no lrn constants" % row.name)
        if "spatial_norm" in words and row.spatial_norm is None:
            raise UserError("%s has a block with spatial_norm but no spatial_norm constants" % row.name)
    for index, grouped in enumerate(GROUPED):
        reads = row.channels if index == 0 else row.widths[index - 1]
        if grouped and (row.widths[index] % row.columns or reads % row.columns):
            raise UserError(
                "conv%d of %s cannot be split into %d columns: %d inputs, %d outputs"
                % (index + 1, row.name, row.columns, reads, row.widths[index])
            )
    if row.lrn is not None and not row.lrn.crosses_columns and row.widths[0] % row.columns:
        raise UserError("norm1 of %s cannot be split into %d columns" % (row.name, row.columns))


_CONV_RELU = "conv act"
_PAPER_WIDTHS = (96, 256, 384, 384, 256, 4096, 4096)
_OWT_WIDTHS = (64, 192, 384, 256, 256, 4096, 4096)

VARIANTS: Dict[str, Variant] = {
    row.name: row
    for row in (
        Variant(
            name="alexnet2012",
            summary="the network of the 2012 paper: two columns, LRN within a column",
            input_size=227,  # [paper] prints 224; 55 x 55 maps without padding need 227
            widths=_PAPER_WIDTHS,
            num_classes=1000,
            columns=2,
            conv1_pad=0,
            conv_rounding="floor",
            pool_rounding="floor",
            blocks=("conv act lrn pool", "conv act lrn pool", _CONV_RELU, _CONV_RELU, "conv act pool"),
            lrn=LRN(size=5, alpha=1e-4, alpha_divided=True, beta=0.75, k=2.0, crosses_columns=False),
            profile="paper-227",
            naming="caffe",
        ),
        Variant(
            name="alexnet2012-original",
            summary="configuration 145 of the released 2012 source: LRN before pool and ReLU, spatial normalisation",
            input_size=224,  # [source] convolutions round up: 1 + ceil((224 - 11) / 4) = 55
            widths=_PAPER_WIDTHS,
            num_classes=1000,
            columns=2,
            conv1_pad=0,
            conv_rounding="ceil",
            pool_rounding="ceil",
            blocks=("conv lrn pool act", "conv act lrn spatial_norm pool", _CONV_RELU, _CONV_RELU, "conv pool act"),
            lrn=LRN(size=5, alpha=1e-4, alpha_divided=True, beta=0.75, k=2.0, crosses_columns=False),
            spatial_norm=SpatialNorm(size=5, alpha=1e-3, beta=0.75, k=1.0),
            profile="paper-224",
            naming="caffe",
        ),
        Variant(
            name="bvlc_alexnet",
            summary="Caffe's AlexNet: LRN with k=1 across the column boundary",
            input_size=227,
            widths=_PAPER_WIDTHS,
            num_classes=1000,
            columns=2,
            conv1_pad=0,
            conv_rounding="floor",
            pool_rounding="ceil",
            blocks=("conv act lrn pool", "conv act lrn pool", _CONV_RELU, _CONV_RELU, "conv act pool"),
            lrn=LRN(size=5, alpha=1e-4, alpha_divided=True, beta=0.75, k=1.0, crosses_columns=True),
            profile="caffe",
            naming="caffe",
        ),
        Variant(
            name="caffenet",
            summary="Caffe's reference network: pool before LRN",
            input_size=227,
            widths=_PAPER_WIDTHS,
            num_classes=1000,
            columns=2,
            conv1_pad=0,
            conv_rounding="floor",
            pool_rounding="ceil",
            blocks=("conv act pool lrn", "conv act pool lrn", _CONV_RELU, _CONV_RELU, "conv act pool"),
            lrn=LRN(size=5, alpha=1e-4, alpha_divided=True, beta=0.75, k=1.0, crosses_columns=True),
            profile="caffe",
            naming="caffe",
        ),
        Variant(
            name="torchvision",
            summary="torchvision's alexnet: one column, no LRN, adaptive average pool, any input from 63 up",
            input_size=224,
            widths=_OWT_WIDTHS,
            num_classes=1000,
            columns=1,
            conv1_pad=2,
            conv_rounding="floor",
            pool_rounding="floor",
            blocks=("conv act pool", "conv act pool", _CONV_RELU, _CONV_RELU, "conv act pool"),
            lrn=None,
            adaptive_pool=6,
            dropout_first=True,
            profile="torchvision",
            naming="torchvision",
        ),
        Variant(
            name="owt",
            summary="the one-GPU network of cuda-convnet2 ('one weird trick'): one column, LRN before pool and ReLU",
            input_size=224,  # [cuda-convnet2] rounds up as [source] does
            widths=_OWT_WIDTHS,
            num_classes=1000,
            columns=1,
            conv1_pad=0,
            conv_rounding="ceil",
            pool_rounding="ceil",
            blocks=("conv lrn pool act", "conv act lrn pool", _CONV_RELU, _CONV_RELU, "conv pool act"),
            lrn=LRN(size=5, alpha=1e-4, alpha_divided=True, beta=0.75, k=2.0, crosses_columns=True),
            profile="paper-224",
            naming="caffe",
        ),
        Variant(
            name="alexnet-digits",
            summary="alexnet2012 made narrow, for 8 x 8 handwritten digits; its trained weights ship with fastalex",
            input_size=131,  # maps 31, 15, 7, 3
            widths=(24, 64, 96, 96, 64, 192, 192),
            num_classes=10,
            columns=2,
            conv1_pad=0,
            conv_rounding="floor",
            pool_rounding="floor",
            blocks=("conv act lrn pool", "conv act lrn pool", _CONV_RELU, _CONV_RELU, "conv act pool"),
            lrn=LRN(size=5, alpha=1e-4, alpha_divided=True, beta=0.75, k=2.0, crosses_columns=False),
            profile="digits",
            naming="caffe",
        ),
    )
}


def get(variant: Union[str, Variant], **overrides: Any) -> Variant:
    """The row called ``variant`` (or the row itself), with any of its fields replaced.

    ``lrn_alpha_divided`` is accepted as a shorthand for the undivided reading of the paper's formula.

    :raises UserError: for an unknown name or field, or a combination that makes no network.
    """
    if isinstance(variant, Variant):
        row = variant
    elif variant in VARIANTS:
        row = VARIANTS[variant]
    else:
        close = difflib.get_close_matches(str(variant), VARIANTS, 1)
        hint = "; did you mean '%s'?" % close[0] if close else ""
        raise UserError("there is no variant '%s'%s (there are: %s)" % (variant, hint, ", ".join(VARIANTS)))
    overrides = {key: value for key, value in overrides.items() if value is not None}
    if "lrn_alpha_divided" in overrides:
        divided = overrides.pop("lrn_alpha_divided")
        if row.lrn is None:
            raise UserError("%s has no LRN, so lrn_alpha_divided does not apply" % row.name)
        overrides["lrn"] = dataclasses.replace(row.lrn, alpha_divided=bool(divided))
    unknown = sorted(set(overrides) - {f.name for f in dataclasses.fields(Variant)})
    if unknown:
        raise UserError("a variant has no field '%s'" % unknown[0])
    if "widths" in overrides:
        overrides["widths"] = tuple(int(width) for width in overrides["widths"])
    return dataclasses.replace(row, **overrides) if overrides else row


def from_dict(values: Mapping[str, Any]) -> Variant:
    """The inverse of :meth:`Variant.to_dict`.

    :raises UserError: if a field is missing, unknown or of the wrong kind.
    """
    fields = dict(values)
    try:
        fields["widths"] = tuple(fields["widths"])
        fields["blocks"] = tuple(fields["blocks"])
        fields["lrn"] = LRN(**fields["lrn"]) if fields.get("lrn") else None
        fields["spatial_norm"] = SpatialNorm(**fields["spatial_norm"]) if fields.get("spatial_norm") else None
        return Variant(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("the variant row is not valid: %s" % error) from None
