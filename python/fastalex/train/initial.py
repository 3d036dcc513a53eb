"""The state that a recipe starts from."""

from __future__ import annotations

import math
from typing import Dict, List, Tuple

import numpy as np

from ..networks.architecture import Variant
from ..weights import Weights, adapt, initial
from .recipes import Recipe


def arrays(row: Variant, recipe: Recipe, seed: int) -> Dict[str, np.ndarray]:
    """Parameter name -> float32 array, the same for the same ``seed``, whatever devices the network is spread over."""
    if recipe.init == "he":
        return initial.random_weights(row, seed)
    generator = np.random.default_rng(seed)
    found: Dict[str, np.ndarray] = {}
    for layer in row.layers():
        weight = layer.param_shapes.get(layer.param + ".weight", ())
        for name, shape in layer.param_shapes.items():
            if recipe.init == "pytorch":
                # torch/nn/modules/conv.py and linear.py, reset_parameters: kaiming_uniform_(a=sqrt(5)) is this bound
                bound = 1 / math.sqrt(math.prod(weight[1:]))
                found[name] = generator.uniform(-bound, bound, shape).astype(np.float32)
            elif name.endswith(".bias"):
                found[name] = np.full(shape, recipe.bias if layer.name in recipe.bias_layers else 0.0, np.float32)
            else:
                std = recipe.weight_stds.get(layer.name, recipe.weight_std)
                found[name] = generator.standard_normal(shape, np.float32) * np.float32(std)
    return found


def finetuned(row: Variant, recipe: Recipe, seed: int, weights: Weights) -> Tuple[Dict[str, np.ndarray], bool]:
    """The arrays of ``weights`` for ``row``; whether its last layer is new because it has other classes.

    A layer after dropout is divided by the share that is kept where the recipe halves in evaluation, so that the
    network computes what the weights' own did.
    """
    start = arrays(row, recipe, seed)
    given = dict(adapt.fit(weights, row))
    last: List[str] = list(start)[-2:]
    fresh = any(name in given and np.shape(given[name])[:1] != (row.num_classes,) for name in last)
    if fresh:
        given.update({name: start[name] for name in last})
    found = {name: np.array(value) for name, value in zip(start, initial.check(row, given))}
    scaled = scale(row, found, recipe, 1 / KEEP)
    if fresh:
        scaled.update({name: start[name] for name in last})
    return scaled, fresh


KEEP = 0.5  # of the units in training: Krizhevsky et al. 2012, section 4.2


def scale(row: Variant, found: Dict[str, np.ndarray], recipe: Recipe, factor: float) -> Dict[str, np.ndarray]:
    """``found`` with the weights after each dropout times ``factor``, if the recipe halves in evaluation.

    ``0.5 * x @ w`` is ``x @ (0.5 * w)`` to the last bit, so the halving moves into the weights when they are handed to
    an engine whose dropout is the identity.
    """
    if recipe.dropout != "halved":
        return dict(found)
    result, dropped = dict(found), False
    for layer in row.layers():
        if layer.op == "fc" and dropped:
            result[layer.param + ".weight"] = found[layer.param + ".weight"] * np.float32(factor)
        dropped = layer.op == "dropout" or (dropped and layer.op != "fc")
    return result
