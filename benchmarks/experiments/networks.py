"""The networks of the experiments: rows of the family, made narrow, and the four layers of the paper's figure 1."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

from fastalex import UserError, _core, variants
from fastalex.networks.layers import Layer, Shape, layer_table

FOUR_LAYERS = "four-layers"


@dataclass(frozen=True)
class FourLayers:
    """Three convolutions, each with its activation and a pool, and a fully connected layer.

    Figure 1 of the paper says no more than "a four-layer convolutional network". Kernels, widths and pools are those of
    its author's own four layers for CIFAR-10, as Caffe has them (github.com/BVLC/caffe,
    ``examples/cifar10/cifar10_full_train_test.prototxt``), without normalization, all pools of maxima. It has what
    :class:`fastalex.train.loop.Run` needs of a :class:`fastalex.networks.architecture.Variant`.
    """

    activation: str = "relu"
    widths: Tuple[int, int, int] = (32, 32, 64)
    input_size: int = 28
    num_classes: int = 10
    profile: str = "jetbot"  # normalized as by torchvision, and at its own size not resized
    name: str = FOUR_LAYERS
    channels: int = 3
    columns: int = 1

    def layers(self) -> List[Layer]:
        rows: List[Layer] = []
        for number, width in enumerate(self.widths, 1):
            options = {"out": width, "kernel": 5, "stride": 1, "pad": 2, "groups": 1, "rounding": "floor"}
            rows.append(_layer("conv", f"conv{number}", options, f"conv{number}"))
            rows.append(_layer(self.activation, f"{self.activation}{number}", {}))
            rows.append(_layer("maxpool", f"pool{number}", {"kernel": 3, "stride": 2, "rounding": "ceil"}))
        rows.append(_layer("fc", "fc4", {"out": self.num_classes}, "fc4"))
        shape: Shape = (self.channels, self.input_size, self.input_size)
        table = []
        for layer, planned in zip(rows, _core.layers(layer_table(rows), shape)):
            out = planned[0][:1] if layer.op == "fc" else planned[0]
            table.append(dataclasses.replace(layer, in_shape=shape, out_shape=out))
            shape = out
        return table

    def parameter_shapes(self) -> Dict[str, Shape]:
        return {name: shape for layer in self.layers() for name, shape in layer.param_shapes.items()}

    @property
    def params(self) -> int:
        return sum(layer.params for layer in self.layers())

    def to_dict(self) -> Dict[str, Any]:
        return dataclasses.asdict(self)


def _layer(op: str, name: str, options: Mapping[str, Any], param: str = "") -> Layer:
    return Layer(op, name, (), (), options, param)


def make(base: str, fields: Mapping[str, Any]) -> Any:
    """The network ``base`` with ``fields`` replaced; ``lrn = false`` leaves its LRN out.

    :raises UserError: for a wrong name or value.
    """
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    if base != FOUR_LAYERS:
        normalized = values.pop("lrn", True)
        row = variants.get(base, **values)
        plain = tuple(block.replace(" lrn", "") for block in row.blocks)
        return row if normalized else dataclasses.replace(row, blocks=plain, lrn=None)
    unknown = sorted(set(values) - {field.name for field in dataclasses.fields(FourLayers)})
    if unknown:
        raise UserError(f"the network {FOUR_LAYERS} has no field '{unknown[0]}'")
    return FourLayers(**values)
