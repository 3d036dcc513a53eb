"""Handlers of convolutions and fully connected layers; the order of their inputs is folded into the weights."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, List, Optional

import numpy as np

from ...networks.architecture import GROUPED
from ..graph import Node, attribute, optional_input, whole, wholes
from ..steps import Step
from .flow import Flow, Linear, RefusedError, Walk, alike, pads_of, rounding_of, shown_name, unmoved
from .pooling import adaptive_by_products
from .stored import reshaped


def conv(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add a convolution, with its padding at the end expressed as rounding."""
    weight = walk.once(inputs[1], node)
    bias = _bias(walk, node, inputs)
    if len(weight.sides) != 4 or weight.sides[2] != weight.sides[3]:
        raise RefusedError(f"its kernel {list(weight.sides)[2:6]} is not square")
    if len(flow.sides) != 3:
        raise RefusedError("what it reads is no map of channels, height and width")
    channels = _channel_order(flow)
    kernel, groups = weight.sides[2], whole(node, "group", 1)
    strides = wholes(node, "strides", [1, 1])
    pads = pads_of(walk, node, flow.sides[1:], weight.sides[2:], strides)
    if set(wholes(node, "dilations", [1])) != {1}:
        raise RefusedError("it has dilations")
    if _after_the_convolutions(flow):
        _require_whole_map(walk, flow, weight, groups, pads)
        return _fully_connected_by_conv(walk, node, flow, Linear("fc", shown_name(node), weight, bias, {}))
    if len(set(strides)) != 1 or len(pads) != 4 or len(set(pads[:2])) != 1:
        raise RefusedError(f"it has strides {strides[:8]} and pads {pads[:8]}")
    stride, pad, sides = strides[0], pads[0], []
    for side, end in zip(flow.sides[1:], pads[2:]):
        sides.append((side + pad + end - kernel) // stride + 1)
    if walk.graph.any_size and pads[:2] != pads[2:]:
        raise RefusedError(f"its pads {pads} differ at the start and end, and the size of the picture is not fixed")
    # Padding at the end that no window reaches does not matter, so that the counts of windows determine the rounding.
    rooms = [side + 2 * pad - kernel for side in flow.sides[1:]]
    rounding = rounding_of(sides, rooms, stride, f"its pads at the end, {pads[2:]}, are not those at the start")
    options = {"groups": groups, "stride": stride, "pad": pad, "kernel": kernel}
    if rounding:
        options["rounding"] = rounding
    gain = None
    if flow.gain is not None:
        gain = np.broadcast_to(flow.gain, (flow.sides[0], 1, 1)).reshape(-1).astype(np.float32)
    if channels is not None and groups != 1:
        raise RefusedError(f"the channels before it are moved by {flow.mover}, and it has groups")
    if gain is not None and groups != 1:
        gain = _grouped(gain, groups)
    layer = Linear("conv", shown_name(node), weight, bias, options, inputs=channels, gain=gain)
    return dataclasses.replace(flow, gain=None).after(layer, (weight.sides[0], *sides))


def _after_the_convolutions(flow: Flow) -> bool:
    """Whether there are as many convolutions as in the family, so that one more is a fully connected layer."""
    return sum(isinstance(layer, Linear) and layer.kind == "conv" for layer in flow.layers) >= len(GROUPED)


def _require_whole_map(walk: Walk, flow: Flow, weight: Any, groups: int, pads: List[int]) -> None:
    """Check that a convolution reads the whole map at once, as a fully connected layer does.

    :raises RefusedError: if it does not, or does for one size of the picture alone and that is not fixed.
    """
    kernel, sides = weight.sides[2:], flow.sides[1:]
    if list(kernel) != list(sides) or any(pads) or groups != 1:
        form = " with padding" * any(pads) + " in groups" * (groups != 1)
        raise RefusedError(
            f"it is convolution {len(GROUPED) + 1} of a family with {len(GROUPED)}, and no fully connected layer "
            f"either: its window of {kernel[0]} x {kernel[1]}{form} is not the map of {sides[0]} x {sides[1]}"
        )
    last = flow.layers[-1]
    pooled = isinstance(last, Step) and last.kind == "avgpool"
    if walk.graph.any_size and not pooled and not flow.in_classifier:
        raise RefusedError("it gives one value a class for one size of the picture alone; export it with that size")


def _fully_connected_by_conv(walk: Walk, node: Node, flow: Flow, layer: Linear) -> Flow:
    """Add a fully connected layer that is written as a convolution with a window of the whole map."""
    outputs, features = layer.weight.sides[0], math.prod(layer.weight.sides[1:])
    layer = dataclasses.replace(layer, weight=reshaped(layer.weight, (outputs, features), walk.graph.opset))
    flat = dataclasses.replace(unmoved(flow), moved=flow.positions.reshape(flow.batch, -1))
    flow = _fully_connected(flat, layer, features)
    return dataclasses.replace(flow, sides=(outputs, 1, 1))


def _bias(walk: Walk, node: Node, inputs: List[Any]) -> Any:
    bias = optional_input(inputs, 2)
    return None if bias is None else walk.once(bias, node)


def _grouped(gain: np.ndarray, groups: int) -> np.ndarray:
    """Return the factors of a group's inputs, which must be those of all groups."""
    parts: np.ndarray = gain.reshape(groups, -1)
    if (parts != parts[0]).any():
        raise RefusedError("the factors of its channels differ between its groups")
    first: np.ndarray = parts[0]
    return first


def _channel_order(flow: Flow) -> Optional[np.ndarray]:
    """Return the order of the channels before a convolution, or None if it is unchanged.

    :raises RefusedError: if values have moved other than as whole channels of the picture.
    """
    if flow.columns is not None:
        raise RefusedError("it reads a part of the channels")
    if flow.in_place():
        return None
    if len(flow.shape) == 4 and flow.shape[1:] == flow.sides:
        area = flow.sides[1] * flow.sides[2]
        order = flow.positions[0, :, 0, 0] // area
        batch = np.arange(len(flow.positions))[:, None]
        expected = (batch * flow.sides[0] + order)[:, :, None] * area + np.arange(area)
        by_channels = (flow.positions.reshape(*flow.shape[:2], -1) == expected).all()
        if by_channels and sorted(order.tolist()) == list(range(flow.sides[0])) and not flow.layers:
            return order.astype(np.intp)
    raise RefusedError(
        f"what it reads is cut, turned, mirrored or reordered by {flow.mover} in a way that its weights cannot follow"
    )


def gemm(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add a fully connected layer."""
    if not isinstance(inputs[0], Flow):
        raise RefusedError("its weights are computed from the picture")
    if whole(node, "transA", 0):
        raise RefusedError("it has transA=1")
    weight = walk.once(inputs[1], node)
    bias = _bias(walk, node, inputs)
    factors = (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0))
    if not all(isinstance(factor, float) for factor in factors) or len(weight.sides) != 2:
        raise RefusedError("its weights are not a matrix, or it has a factor that is not a number")
    transposed = not whole(node, "transB", 0)
    layer = Linear("fc", shown_name(node), weight, bias, {}, transposed, factors)
    return _fully_connected(flow, layer, weight.sides[0 if transposed else 1])


def matmul(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add a fully connected layer without a bias, or a half of an adaptive average pool."""
    if any(len(getattr(value, "sides", ())) == 4 for value in inputs if not isinstance(value, Flow)):
        return adaptive_by_products(node, flow, inputs)
    if not isinstance(inputs[0], Flow):
        raise RefusedError("it multiplies from the left")
    weight = walk.once(inputs[1], node)
    if len(weight.sides) != 2:
        raise RefusedError("its weights are not a matrix")
    return _fully_connected(flow, Linear("fc", shown_name(node), weight, None, {}, True), weight.sides[0])


def _fully_connected(flow: Flow, layer: Linear, features: int) -> Flow:
    order = _feature_order(flow)
    if features != flow.size:
        raise RefusedError(f"it has weights for {features} features where there are {flow.size}")
    gain = None
    if flow.gain is not None:
        gain = np.broadcast_to(flow.gain, flow.sides).reshape(-1).astype(np.float32)
    outputs = layer.weight.sides[1] if layer.transposed else layer.weight.sides[0]
    layer = dataclasses.replace(layer, inputs=order, gain=gain)
    return dataclasses.replace(flow, gain=None).after(layer, (outputs,))


def _feature_order(flow: Flow) -> Optional[np.ndarray]:
    """Return the order of the features before a fully connected layer, or None if it is that of a flattened map.

    :raises RefusedError: if the layer does not read each feature once.
    """
    if flow.columns is not None or len(flow.shape) != 2:
        raise RefusedError("the values before it are not flattened to [N, features]")
    if flow.moved is None:
        return None
    order: np.ndarray = flow.positions[0]
    if flow.shape[1] != flow.size or not alike(flow, order):
        raise RefusedError("it does not read each value before it exactly once")
    if (order[1:] - order[:-1] == 1).all() and order[0] == 0:
        return None
    if len(np.unique(order)) != flow.size:
        raise RefusedError("it does not read each value before it exactly once")
    return order.astype(np.intp)
