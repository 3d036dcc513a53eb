"""Handlers of normalizations: LRN across channels, normalization within a channel, and batch normalization."""

from __future__ import annotations

import dataclasses
from typing import Any, List, Union

import numpy as np

from ..graph import Node, attribute, whole, wholes
from ..steps import Step
from .elementwise import folded
from .flow import Flow, RefusedError, SpatialNormPart, Walk, shown_name, small_array, unmoved, without_gain


def lrn(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Add an LRN over all channels, or note one over consecutive channels that are a part of them."""
    flow = without_gain(flow)
    options = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0, "size": 5}
    options.update({key: node.attributes[key] for key in options if key in node.attributes})
    options["k"] = options.pop("bias")
    if flow.columns is not None:
        raise RefusedError("two normalizations follow each other")
    if flow.in_place():
        return flow.after(Step("lrn", shown_name(node), dict(options, crosses_columns=True)), flow.sides)
    part = flow.positions[0].reshape(-1)
    if flow.shape[2:] != flow.sides[1:] or (np.diff(part) != 1).any():
        raise RefusedError(f"the values before it are moved by {flow.mover} in a way that no network of the family has")
    return dataclasses.replace(flow, columns=tuple(sorted(options.items())))


def batch_normalization(walk: Walk, node: Node, flow: Flow, inputs: List[Any]) -> Flow:
    """Fold a batch normalization into the layer with weights before."""
    if whole(node, "training_mode", 0):
        raise RefusedError("it is in training mode")
    scale, shift, mean, variance = (np.asarray(small_array(value), np.float64).reshape(-1) for value in inputs[1:5])
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return folded(unmoved(flow), factor, shift - mean * factor)


#: Ops of a normalization within a channel -> the stage that they follow and the stage that they produce.
SPATIAL_OPS = {
    "AveragePool": ("squares", "mean"),
    "Mul": ("mean", "sum"),
    "Add": ("sum", "base"),
    "Pow": ("base", "power"),
    "Div": ("power", ""),
}


def spatial_norm(node: Node, inputs: List[Any]) -> Union[Flow, SpatialNormPart]:
    """Continue a normalization within a channel; its last node gives the values after it."""
    part: SpatialNormPart = next(value for value in inputs if isinstance(value, SpatialNormPart))
    if node.op not in SPATIAL_OPS:
        raise RefusedError(f"it is not part of a normalization within a channel, which {part.begun_by} would begin")
    before, after = SPATIAL_OPS[node.op]
    others = [value for value in inputs if value is not part]
    if part.stage != before or len(others) > 1:
        raise RefusedError("it is not part of a normalization within a channel")
    options = dict(part.options)
    if node.op == "Div":
        divides_the_values = inputs[0] is part.flow
        if not divides_the_values:
            raise RefusedError("it is not part of a normalization within a channel")
        return part.flow.after(Step("spatial_norm", shown_name(node), options), part.flow.sides)
    if node.op == "AveragePool":
        kernel, pads = wholes(node, "kernel_shape", ()), wholes(node, "pads", [0, 0, 0, 0])
        size = kernel[0]
        plain = set(wholes(node, "strides", [1, 1])) == {1} and whole(node, "count_include_pad", 0)
        if set(kernel) != {size} or set(pads) != {size // 2} or not size % 2 or not plain:
            raise RefusedError("it is not part of a normalization within a channel")
        options["size"] = size
    else:
        values = small_array(others[0])
        if values.size != 1:
            raise RefusedError("it is not part of a normalization within a channel")
        options[{"Mul": "alpha", "Add": "k", "Pow": "beta"}[node.op]] = float(values.reshape(-1)[0])
    return SpatialNormPart(part.flow, after, options, part.begun_by)
