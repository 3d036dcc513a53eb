"""Names of parameters, as PyTorch, TensorFlow, Keras and Caffe's converters write them: a layer and a leaf."""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping, Tuple

import numpy as np

from ...errors import UserError
from .. import Weights
from ..graph import shown

Layer = Dict[str, Any]  # "weight" and perhaps "bias" -> array
Layers = Dict[str, Layer]  # by the name of the layer

_LEAVES = {
    **dict.fromkeys(("weight", "weights", "kernel", "W", "w"), "weight"),
    **dict.fromkeys(("bias", "biases", "B", "b"), "bias"),
    **{f"{leaf}_{part}": f"{leaf}_{part}" for leaf in ("weight", "bias") for part in ("orig", "mask")},
}
_SEPARATORS = "./_"
_COMPUTED = re.compile(r"parametrizations\.(weight|bias)\.original|(^|\.)weight_[gv]$")
_LONGEST = 1000  # characters of a name


def layers_of(weights: Weights) -> Tuple[Layers, Dict[str, Any]]:
    """Return the layers with a weight of two or four dimensions, and all other arrays by their own names.

    Pruned weights (``torch.nn.utils.prune``) are multiplied by their masks; biases have one dimension.

    :raises UserError: for parameters that PyTorch computes from others.
    """
    groups: Dict[str, Dict[str, str]] = {}  # layer -> leaf -> name of the array
    others = dict(weights.arrays)
    for name in weights.arrays:
        if not isinstance(name, str) or len(name) > _LONGEST:
            continue
        if _COMPUTED.search(name):
            raise UserError(
                f"the array '{shown(name)}' of {weights.path or 'the mapping'} is a part of a weight that PyTorch "
                "computes; call torch.nn.utils.parametrize.remove_parametrizations or remove_weight_norm, and save it "
                "again"
            )
        layer, leaf = _split(name)
        if leaf:
            groups.setdefault(layer, {}).setdefault(leaf, name)
    layers: Layers = {}
    for layer, names in groups.items():
        arrays = _layer({leaf: weights.arrays[name] for leaf, name in names.items()})
        if arrays:
            layers[layer] = arrays
            for name in names.values():
                del others[name]
    return layers, others


def _split(name: str) -> Tuple[str, str]:
    """Return the layer and the leaf of a parameter's name, or an empty leaf for a name of another kind."""
    plain = name[:-2] if name.endswith(":0") else name  # TensorFlow's
    for suffix, leaf in _LEAVES.items():
        if plain == suffix:
            return "", leaf
        if plain.endswith(suffix) and plain[-len(suffix) - 1] in _SEPARATORS:
            return plain[: -len(suffix) - 1].replace("/", "."), leaf
    return "", ""


def _layer(arrays: Mapping[str, Any]) -> Layer:
    """Return the weight and the bias of a layer; empty if they are not those of a convolution or a matrix."""
    layer = {}
    used = 0
    for leaf in ("weight", "bias"):
        if leaf in arrays:
            layer[leaf] = arrays[leaf]
            used += 1
        elif leaf + "_orig" in arrays and leaf + "_mask" in arrays:
            original, mask = np.asarray(arrays[leaf + "_orig"]), arrays[leaf + "_mask"]
            if np.shape(original) != np.shape(mask):
                return {}
            layer[leaf] = original * np.asarray(mask, original.dtype)
            used += 2
    if used < len(arrays) or np.ndim(layer.get("weight", 0)) not in (2, 4):
        return {}
    if "bias" in layer:
        size = int(np.prod(np.shape(layer["bias"])))
        if size != max(np.shape(layer["bias"]), default=0):
            return {}
        if np.ndim(layer["bias"]) > 1:
            layer["bias"] = np.asarray(layer["bias"]).reshape(-1)
    return layer
