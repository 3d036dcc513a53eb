"""The initial parameters of a recipe, random or from trained weights."""

from __future__ import annotations

import math
from typing import Dict, List, Tuple

import numpy as np

from ..networks.architecture import Variant
from ..weights import Weights, adapt, initial
from .recipes import Recipe


def arrays(row: Variant, recipe: Recipe, seed: int) -> Dict[str, np.ndarray]:
    """Return random parameters, name -> float32 array; they depend on ``seed``, but not on the parallel scheme."""
    if recipe.init == "he":
        return initial.random_weights(row, seed)
    generator = np.random.default_rng(seed)
    parameters: Dict[str, np.ndarray] = {}
    for layer in row.layers():
        weight = layer.param_shapes.get(layer.param + ".weight", ())
        for name, shape in layer.param_shapes.items():
            if recipe.init == "pytorch":
                # bound of kaiming_uniform_(a=sqrt(5)): torch/nn/modules/conv.py and linear.py, reset_parameters
                bound = 1 / math.sqrt(math.prod(weight[1:]))
                parameters[name] = generator.uniform(-bound, bound, shape).astype(np.float32)
            elif name.endswith(".bias"):
                parameters[name] = np.full(shape, recipe.bias if layer.name in recipe.bias_layers else 0.0, np.float32)
            else:
                std = recipe.weight_stds.get(layer.name, recipe.weight_std)
                parameters[name] = generator.standard_normal(shape, np.float32) * np.float32(std)
    return parameters


def finetuned(row: Variant, recipe: Recipe, seed: int, weights: Weights) -> Tuple[Dict[str, np.ndarray], bool]:
    """Return the parameters of ``weights`` for ``row``, and whether the last layer is new, for other classes.

    If the recipe halves activations in evaluation, the layers after dropout are divided by the fraction of units kept
    in training, so that the network computes the same results as with the original weights.

    :raises UserError: if the weights do not fit.
    """
    start = arrays(row, recipe, seed)
    trained = dict(adapt.fit(weights, row))
    last: List[str] = list(start)[-2:]
    fresh = any(name in trained and np.shape(trained[name])[:1] != (row.num_classes,) for name in last)
    if fresh:
        trained.update({name: start[name] for name in last})
    parameters = {name: np.array(value) for name, value in zip(start, initial.check(row, trained))}
    scaled = scale(row, parameters, recipe, 1 / KEEP)
    if fresh:
        scaled.update({name: start[name] for name in last})
    return scaled, fresh


KEEP = 0.5  # fraction of units kept in training: Krizhevsky et al. 2012, section 4.2


def scale(row: Variant, parameters: Dict[str, np.ndarray], recipe: Recipe, factor: float) -> Dict[str, np.ndarray]:
    """Multiply the weights after each dropout by ``factor``, if the recipe halves activations in evaluation.

    ``0.5 * x @ w`` equals ``x @ (0.5 * w)`` to the last bit, so the halving moves into the weights when they are
    exported for an engine whose dropout is the identity.
    """
    if recipe.dropout != "halved":
        return dict(parameters)
    result, dropped = dict(parameters), False
    for layer in row.layers():
        if layer.op == "fc" and dropped:
            result[layer.param + ".weight"] = parameters[layer.param + ".weight"] * np.float32(factor)
        dropped = layer.op == "dropout" or (dropped and layer.op != "fc")
    return result
