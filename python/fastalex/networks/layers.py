"""The layer table: the layers of a network in order, with their shapes, and its text form for the native engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

Shape = Tuple[int, ...]  # per image: (channels, height, width) or (features,)


@dataclass(frozen=True)
class Layer:
    """A row of the layer table. Shapes are per image.

    * ``op``: conv, relu, tanh, sigmoid, leaky_relu, lrn, spatial_norm, maxpool, adaptive_avgpool, dropout, fc or
      softmax.
    * ``options``: the op's constants under the names of the engine's layer table (``csrc/include/fastalex.h``).
    * ``param``: prefix of the parameters (``"<param>.weight"``, ``"<param>.bias"``), empty for a layer without any.
    * ``signed_input``: whether the input can be negative, given the ops before this one.
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
        weight: Shape
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
        """Multiply-accumulates for one image, products with padding included; 0 for all ops but conv and fc."""
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
    """Return the layer table in the text form that the native engine reads (grammar: ``csrc/include/fastalex.h``).

    :param scales: for precision int8, the quantization scale of the input of each conv and fc layer, by layer name.
    """
    lines = []
    for layer in layers:
        if layer.op == "dropout":  # the identity, in evaluation mode
            continue
        words = [layer.op, "name=" + layer.name]
        words += [f"{key}={value}" for key, value in layer.options.items()]
        if scales is not None and layer.param:
            words.append(f"scale={float(scales[layer.name])!r}")
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def signed_inputs(table: List[Layer]) -> Dict[str, bool]:
    """Return, for the name of each conv and fc layer, whether its input can be negative."""
    return {layer.name: layer.signed_input for layer in table if layer.param}


def label_fused_steps(table: List[Layer], steps: List[Dict[str, Any]]) -> None:
    """Complete ``layers`` of each of the engine's fused ``steps``, in place.

    The engine names the last layer of a step; afterwards the list holds every layer that the step computes.
    """
    order = [layer.name for layer in table if layer.op != "dropout"]
    done = 0
    for step in steps:
        last = step["layers"][-1]
        if last in order[done:]:
            end = order.index(last, done) + 1
            step["layers"], done = order[done:end], end


def first_fc_input(table: List[Layer]) -> int:
    """Return the number of inputs of the first fully connected layer."""
    return next(_count(layer.in_shape) for layer in table if layer.op == "fc")


def _count(shape: Shape) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
