"""The layer table: the layers of a network in order, with their shapes, and its text form for the native engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

Shape = Tuple[int, ...]  # per image: (channels, height, width) or (features,)


@dataclass(frozen=True)
class Layer:
    """One row of the expanded layer table.

    ``op`` is one of conv, relu, tanh, sigmoid, leaky_relu, lrn, spatial_norm, maxpool, adaptive_avgpool, dropout, fc,
    softmax.
    ``options`` holds the op's numbers under the names of the native engine's layer table (``csrc/include/fastalex.h``).
    ``param`` is the prefix of its parameters (``"<param>.weight"``, ``"<param>.bias"``), empty where it has none.
    Shapes are per image. ``signed_input``: whether its input can be negative, by the ops before it.
    """

    op: str
    name: str
    in_shape: Shape
    out_shape: Shape
    options: Mapping[str, Any] = field(default_factory=dict)
    param: str = ""
    signed_input: bool = True

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


def layer_table(layers: List[Layer], scales: Optional[Mapping[str, float]] = None) -> str:
    """The layer table in the text form that the native engine reads (grammar: ``csrc/include/fastalex.h``).

    ``scales``: name of a conv or fc layer -> the quantization scale of its input, for precision int8.
    """
    lines = []
    for layer in layers:
        if layer.op == "dropout":  # evaluation mode: the identity
            continue
        words = [layer.op, "name=" + layer.name]
        words += [f"{key}={value}" for key, value in layer.options.items()]
        if scales is not None and layer.param:
            words.append(f"scale={float(scales[layer.name])!r}")
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def signed_inputs(table: List[Layer]) -> Dict[str, bool]:
    """Name of each conv and fc layer -> whether its input can be negative."""
    return {layer.name: layer.signed_input for layer in table if layer.param}


def label_fused_steps(table: List[Layer], steps: List[Dict[str, Any]]) -> None:
    """Give each of the engine's ``steps``, which name the last layer of what they do, all ``layers`` that they do."""
    order = [layer.name for layer in table if layer.op != "dropout"]
    done = 0
    for step in steps:
        last = step["layers"][-1]
        if last in order[done:]:
            end = order.index(last, done) + 1
            step["layers"], done = order[done:end], end


def first_fc_input(table: List[Layer]) -> int:
    return next(_count(layer.in_shape) for layer in table if layer.op == "fc")


def _count(shape: Shape) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
