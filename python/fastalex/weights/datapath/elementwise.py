"""Handlers of activations, sums and products, which become layers or are folded into the weights around them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, List, Union

import numpy as np

from ...networks import activations
from ...networks.activations import DEFAULT_SLOPE
from ..graph import Node, attribute, optional_input
from ..steps import Step
from .flow import (
    Flow,
    RefusedError,
    SpatialNormPart,
    Walk,
    all_channels,
    described,
    is_positive,
    shown_name,
    small_array,
    unmoved,
    without_gain,
)

_PASSES = 4  # over the positions of the values, to find the number of each channel
_SCALED = ("relu", "leaky_relu")  # functions with f(g x) = g f(x) for g > 0


def activation(word: str) -> Callable[[Walk, Node, Flow, List[Any]], Flow]:
    """Return the handler of the activation called ``word`` in a variant's row."""

    def act(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
        if flow.columns is not None:
            raise RefusedError("it reads a part of the channels")
        if not word.startswith(_SCALED) or not is_positive(flow.gain):
            flow = without_gain(flow)
        return flow.through(Step("act", shown_name(node), {"function": word}))

    return act


def leaky_relu(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add a leaky ReLU."""
    slope = attribute(node, "alpha", DEFAULT_SLOPE)
    if not isinstance(slope, float) or not np.isfinite(slope):
        raise RefusedError("its slope is not a number")
    return activation(activations.leaky_relu(float(str(np.float32(slope)))))(walk, node, flow, inputs)


def softmax(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add a softmax over the classes."""
    flow = without_gain(flow)
    axis = attribute(node, "axis", -1 if walk.graph.opset >= 13 else 1)
    rank = len(flow.shape)
    over_classes = rank == 2 and axis in (1, -1)
    if rank == 4 and flow.in_classifier and flow.shape[2:] == (1, 1):  # a network of convolutions
        over_classes = axis == 1 or (axis == -3 and walk.graph.opset >= 13)
    if not over_classes:
        raise RefusedError("it is not over the classes")
    return flow.through(Step("softmax", shown_name(node), {}))


def dropout(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Skip a dropout, which is the identity outside training."""
    training = optional_input(inputs, 2)
    if training is not None and np.asarray(small_array(training)).any():
        raise RefusedError("it is in training mode")
    return flow


def cast(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Skip a conversion to float32 or float64."""
    if node.attributes.get("to") not in (1, 11):
        raise RefusedError("it rounds the values to another type")
    return dataclasses.replace(flow, whole=False)


def arithmetic(word: str) -> Callable[[Walk, Node, Flow, List[Any]], Union[Flow, SpatialNormPart]]:
    """Return the handler of Add, Sub, Mul or Div with a constant, or of Mul of the values with themselves."""

    def combine(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Union[Flow, SpatialNormPart]:
        if word == "Mul" and len(inputs) == 2 and inputs[0] is inputs[1]:
            return SpatialNormPart(without_gain(unmoved(flow)), "squares", {}, described(node))
        if len(inputs) != 2 or sum(isinstance(value, Flow) for value in inputs) != 1:
            raise RefusedError("it joins two values that depend on the picture")
        first = isinstance(inputs[0], Flow)
        constant = inputs[1] if first else inputs[0]
        if word == "Add" and flow.last_linear and flow.layers[-1].bias is None and _is_bias(flow, constant):
            layer = flow.layers[-1]
            if layer.scale is None and layer.kind == "fc":  # the bias of a MatMul, which can stay a view of the file
                layer = dataclasses.replace(layer, bias=walk.once(constant, node))
                return dataclasses.replace(flow, layers=(*flow.layers[:-1], layer))
        values = np.asarray(small_array(constant), np.float64)
        if flow.moved is not None:
            walk.charge(_PASSES * flow.moved.size)
        if word == "Div" and not first:
            raise RefusedError("it divides by a value that depends on the picture")
        per_output = _per_output(flow, values)
        zero = np.zeros(1)
        if word in ("Add", "Sub"):
            sign = -1.0 if word == "Sub" and first else 1.0
            return folded(flow, np.full(1, -1.0 if word == "Sub" and not first else 1.0), sign * per_output)
        with np.errstate(divide="ignore"):
            factor = per_output if word == "Mul" else 1.0 / per_output
        if flow.last_linear and flow.gain is None:
            return folded(flow, factor, zero)
        return _carried(flow, factor)

    return combine


def negative(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Fold a factor of -1."""
    return folded(flow, np.full(1, -1.0), np.zeros(1)) if flow.last_linear else _carried(flow, np.full(1, -1.0))


def _is_bias(flow: Flow, constant: Any) -> bool:
    """Whether a constant has a number for each feature, in the form that broadcasts to ``[N, features]``."""
    sides = list(getattr(constant, "sides", getattr(constant, "shape", ())))
    return len(flow.shape) == 2 and flow.in_place() and sides in ([flow.sides[0]], [1, flow.sides[0]])


def _per_output(flow: Flow, values: np.ndarray) -> np.ndarray:
    """Return a broadcast constant as one number for each channel or feature, or as one number for all.

    If values have moved, the numbers are those of the channels that they come from.

    :raises RefusedError: if it has another shape.
    """
    rank = len(flow.shape)
    if values.ndim <= rank and values.size == 1:
        return values.reshape(1)
    sides = (1,) * (rank - values.ndim) + values.shape
    if values.ndim <= rank and flow.in_place() and sides[1] == values.size == flow.sides[0]:
        return values.reshape(-1)
    fits = len(sides) == rank and all(side in (1, own) for side, own in zip(sides, flow.shape))
    if fits and not flow.in_place():
        wide = np.broadcast_to(values, flow.shape)
        area = max(1, math.prod(flow.sides[1:]))
        channels = flow.positions // area % flow.sides[0]
        numbers = np.full(flow.sides[0], values.flat[0])
        numbers[channels] = wide
        if (numbers[channels] == wide).all():
            return numbers
    raise RefusedError(f"its constant of shape {list(values.shape)} is not one number for each channel")


def folded(flow: Flow, factor: np.ndarray, shift: np.ndarray) -> Flow:
    """Fold ``factor`` and ``shift``, ``[outputs]`` or one value each, into the layer with weights before.

    :raises RefusedError: if the last layer has no weights, or a number is not finite.
    """
    flow = without_gain(all_channels(flow))
    if not flow.last_linear:
        raise RefusedError("it does not follow a layer with weights, into which it could go")
    count = flow.sides[0]
    if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
        raise RefusedError("its numbers are not finite")
    wide = [np.broadcast_to(np.asarray(values, np.float64).reshape(-1), (count,)) for values in (factor, shift)]
    layer = flow.layers[-1].affine(*wide)
    return dataclasses.replace(flow, layers=(*flow.layers[:-1], layer))


def _carried(flow: Flow, factor: np.ndarray) -> Flow:
    """Carry a factor after an activation on to the next layer with weights."""
    flow = all_channels(flow)
    if not np.isfinite(factor).all():
        raise RefusedError("its numbers are not finite")
    shape = (-1, *[1] * (len(flow.sides) - 1))
    gain = np.broadcast_to(factor, (flow.sides[0],)).reshape(shape)
    return dataclasses.replace(flow, gain=gain if flow.gain is None else flow.gain * gain)
