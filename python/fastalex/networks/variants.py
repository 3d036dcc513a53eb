"""The AlexNet family as data: one literal row per network, each a :class:`~fastalex.networks.architecture.Variant`.

The plan of the native engine, the PyTorch reference, the parameter shapes, the layer summary and the predicted timings
are all derived from these rows by :meth:`Variant.layers`; no other file describes the architecture.

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
from typing import Any, Dict, Mapping, Union

from .._util import arguments
from ..errors import UserError
from .architecture import LRN, SpatialNorm, Variant

_CONV_RELU = "conv act"
_PAPER_WIDTHS = (96, 256, 384, 384, 256, 4096, 4096)
_OWT_WIDTHS = (64, 192, 384, 256, 256, 4096, 4096)

VARIANTS: Dict[str, Variant] = {
    row.name: row
    for row in (
        Variant(
            name="alexnet2012",
            summary="the network of the 2012 paper: two columns, LRN within a column",
            input_size=227,  # [paper] says 224, but 55 x 55 maps without padding need 227
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
            summary="configuration 145 of the released 2012 source: LRN before pool and ReLU, spatial normalization",
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
            input_size=224,  # [cuda-convnet2] rounds up like [source]
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
            input_size=131,  # gives maps of 31, 15, 7 and 3
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
    """Return the row called ``variant`` (or the row itself), with fields replaced.

    :param overrides: the fields; those that are None are left alone. ``lrn_alpha_divided=False`` is a shorthand for
        the formula of LRN as the paper prints it.
    :raises UserError: for an unknown name or field, or a combination that is not a network.
    """
    if isinstance(variant, Variant):
        row = variant
    elif variant in VARIANTS:
        row = VARIANTS[variant]
    else:
        word = str(variant)[:100]
        close = difflib.get_close_matches(word, VARIANTS, 1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise UserError(f"there is no variant '{word}'{hint} (there are: {', '.join(VARIANTS)})")
    overrides = {key: value for key, value in overrides.items() if value is not None}
    if "lrn_alpha_divided" in overrides:
        divided = overrides.pop("lrn_alpha_divided")
        if row.lrn is None:
            raise UserError(f"{row.name} has no LRN, so lrn_alpha_divided does not apply")
        overrides["lrn"] = dataclasses.replace(row.lrn, alpha_divided=bool(divided))
    unknown = sorted(set(overrides) - {f.name for f in dataclasses.fields(Variant)})
    if unknown:
        raise UserError(f"a variant has no field '{unknown[0]}'")
    if "widths" in overrides:
        overrides["widths"] = tuple(int(width) for width in overrides["widths"])
    return dataclasses.replace(row, **overrides) if overrides else row


def from_dict(values: Mapping[str, Any]) -> Variant:
    """Return the row that :meth:`Variant.to_dict` turned into ``values``.

    :raises UserError: if a field is missing, unknown or of the wrong kind.
    """
    fields = {"lrn": None, **values}
    try:
        for name in ("widths", "blocks", "activation"):
            if isinstance(fields.get(name), list):
                fields[name] = tuple(fields[name])
        for name, kind in (("lrn", LRN), ("spatial_norm", SpatialNorm)):
            if fields.get(name) is not None:
                fields[name] = _made(kind, fields[name], name)
        row: Variant = _made(Variant, fields, "it")
        return row
    except UserError as error:
        raise UserError(f"the variant row is not valid: {error}") from None


def _made(kind: Any, values: Any, what: str) -> Any:
    """Make an object of the dataclass ``kind``; messages call ``values`` ``what``.

    :raises UserError: if a field is missing, unknown or wrong.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{what} must have fields, and is {arguments.brief(values)}")
    known = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(kind)}
    for name in values:
        if name not in known:
            raise UserError(f"{what} has no field {arguments.brief(name)}")
    for name, needed in known.items():
        if needed and name not in values:
            raise UserError(f"{what} lacks the field '{name}'")
    return kind(**values)
