"""Handlers of pools: max pools, and average pools in every form that exporters write."""

from __future__ import annotations

import dataclasses
from typing import Any, List

import numpy as np

from ...networks.onnx_export import adaptive_means
from .. import interpreter
from ..graph import Node, whole, wholes
from ..steps import Step
from .flow import (
    Flow,
    RefusedError,
    Walk,
    described,
    is_positive,
    pads_of,
    rounding_of,
    shown_name,
    unmoved,
    without_gain,
)


def max_pool(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add a max pool, whose padding at the end may stand for rounding up."""
    flow = unmoved(flow)
    if not is_positive(flow.gain) or (flow.gain is not None and flow.gain.shape[1:] != (1, 1)):
        without_gain(flow)
    kernel, strides = wholes(node, "kernel_shape", ()), wholes(node, "strides", [1, 1])
    pads = pads_of(walk, node, flow.sides[1:], kernel, strides)
    if set(wholes(node, "dilations", [1])) != {1}:
        raise RefusedError("it has dilations")
    if len(set(kernel)) != 1 or len(set(strides)) != 1 or len(pads) != 4 or pads[:2] != [0, 0]:
        raise RefusedError(f"it has the window {kernel[:4]}, strides {strides[:4]} and pads {pads[:8]}")
    size, stride, sides = kernel[0], strides[0], []
    up = bool(whole(node, "ceil_mode", 0))
    for side, end in zip(flow.sides[1:], pads[2:]):
        room = side + end - size
        count = (-(-room // stride) if up else room // stride) + 1
        outside = up and (count - 1) * stride >= side  # a window that would start behind the map is left out
        sides.append(count - outside)
    # Converters from Caffe write its rounding up as padding at the end.
    rooms = [side - size for side in flow.sides[1:]]
    problem = "it rounds its counts in a way that no network of the family does"
    certain = rounding_of(sides, rooms, stride, problem)
    if walk.graph.any_size and any(pads):
        raise RefusedError(f"it has pads {pads}, and the size of the picture is not fixed")
    rounding = certain or ("ceil" if up or any(pads[2:]) else "floor")
    if walk.graph.any_size:  # the rounding matters for other sizes
        certain = rounding
    options = {"kernel": size, "stride": stride, "rounding": rounding, "certain": certain or "any"}
    return flow.after(Step("pool", shown_name(node), options), (flow.sides[0], *sides))


def average_pool(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add an average pool over the whole map; one over single values does nothing."""
    flow = unmoved(flow)
    kernel = wholes(node, "kernel_shape", ())
    strides = wholes(node, "strides", [1, 1])
    pads = pads_of(walk, node, flow.sides[1:], kernel, strides)
    if set(kernel) == {1} and not any(pads) and (set(strides) == {1} or _is_done(flow)):
        return flow  # PyTorch's export of the adaptive pool at the network's own input size
    if list(kernel) == list(flow.sides[1:]) and not any(pads):
        return flow.after(_over_the_map(node), (flow.sides[0], 1, 1))
    raise RefusedError("the family has only an adaptive average pool")


def _over_the_map(node: Node) -> Step:
    """Return an average pool to a single value."""
    return Step("avgpool", shown_name(node), {"out": 1})


def _is_done(flow: Flow) -> bool:
    """Whether the map is the 1 x 1 of a fully connected layer, which a pool over the whole map does not change."""
    return flow.in_classifier and flow.sides[1:] == (1, 1)


def global_average(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add an average pool over the whole map."""
    flow = unmoved(flow)
    return flow if _is_done(flow) else flow.after(_over_the_map(node), (flow.sides[0], 1, 1))


def reduce_mean(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add a mean over height and width, an average pool over the whole map."""
    last = flow.channels_last()
    flow = flow if last else unmoved(flow)
    axes = interpreter.axes(node, [value.array() if hasattr(value, "array") else value for value in inputs])
    rank = len(flow.shape)
    if axes is None or rank != 4 or sorted(axis % rank for axis in axes) != ([1, 2] if last else [2, 3]):
        raise RefusedError("it does not average over a whole map")
    result = flow if _is_done(flow) else flow.after(_over_the_map(node), (flow.sides[0], 1, 1))
    shape = (result.batch, result.sides[0]) if not whole(node, "keepdims", 1) else (result.batch, *result.sides)
    if last and whole(node, "keepdims", 1):
        shape = (result.batch, 1, 1, result.sides[0])
    if shape == result.shape:
        return result
    return dataclasses.replace(result, moved=result.positions.reshape(shape), mover=described(node)[len("its ") :])


def adaptive_by_products(node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add a half of an adaptive average pool as ``fastalex export`` writes it: a product with a matrix.

    The first product is from the left, over rows, the second from the right, over columns; it completes the pool.
    """
    flow = unmoved(flow)
    left = not isinstance(inputs[0], Flow)
    matrix = np.asarray((inputs[0] if left else inputs[1]).array(), np.float64)
    matrix = matrix[0, 0] if left else matrix[0, 0].T
    out, side = matrix.shape
    channels, height, width = flow.sides
    exact = adaptive_means(side, out)[0, 0]
    if side != (height if left else width) or np.abs(matrix - exact).max() > 1e-6:
        raise RefusedError("its matrix is not that of an adaptive average pool")
    last = flow.layers[-1] if flow.layers else None
    if left:
        return flow.after(Step("half avgpool", shown_name(node), {"out": out}), (channels, out, width))
    if not isinstance(last, Step) or last.kind != "half avgpool" or last.options["out"] != out:
        raise RefusedError("its matrix is not that of an adaptive average pool")
    flow = dataclasses.replace(flow, layers=flow.layers[:-1])
    return flow.after(Step("avgpool", shown_name(node), {"out": out}), (channels, height, out))
