"""The arrays of the network among those of a checkpoint, under regular names and in PyTorch's layout.

Files without a description of their network (``.pth``, ``.safetensors``, ``.npz``, ``.npy``) hold arrays by name, often
with others beside them, under the names of another framework, or in TensorFlow's order of axes. :func:`select` returns
the five convolutions and the three fully connected layers as ``<layer>.weight`` and ``<layer>.bias``, in their order.
Whatever it leaves out or assumes is told in a note. Arrays inside the network that may change its result, and have no
place in the family, stay, so that :mod:`..adapt` refuses them by name.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Tuple

import numpy as np

from ...errors import UserError
from .. import VARIANT_KEY, Weights
from ..facts import CONVOLUTIONS, FULLY_CONNECTED
from ..graph import shown
from ..order import by_shapes, doubts
from . import layout, leftovers
from .names import Layer, Layers, layers_of

_COUNT = CONVOLUTIONS + FULLY_CONNECTED
MAX_LAYERS = 10_000  # of a file in which a network is looked for
MAX_PARTS = 32  # of the names of modules
MAX_NETWORKS = 16  # copies of a network


def select(weights: Weights) -> Weights:
    """Return ``weights`` with the arrays of its network alone, and notes on the others.

    Weights that describe their network, or in which there is none, are returned unchanged.

    :raises UserError: if they hold two different networks, parameters that must be computed first, or whole numbers.
    """
    if weights.steps or VARIANT_KEY in weights.metadata:
        return weights
    layers, others = layers_of(weights)
    networks = _networks(layers)
    if not networks:
        return weights
    prefix, names = next(iter(networks.items()))
    copies = _copies(weights, layers, networks)
    _check_floats(weights, {name: layers[name] for name in names})
    network, assumed = _regular({name: layers[name] for name in names})
    used = {name for names in networks.values() for name in names}
    unused = {name: layer for name, layer in layers.items() if name not in used}
    left_out, inside = leftovers.sort(others, unused, network, prefix)
    arrays = {f"{name}.{leaf}": array for name, layer in network.items() for leaf, array in layer.items()}
    notes = (*weights.notes, *copies, *assumed, *left_out)
    return dataclasses.replace(weights, arrays={**arrays, **inside}, notes=notes)


def _regular(layers: Layers) -> Tuple[Layers, List[str]]:
    """Return the layers of a network in their order, in PyTorch's layout, with a last bias, and notes on these."""
    layers, note = layout.as_pytorch(layers)
    notes = [note] if note else []
    shapes = {name: np.shape(layer["weight"]) for name, layer in layers.items()}
    order = by_shapes(shapes)
    notes += doubts(shapes, order)
    network = {name: layers[name] for name in order[:CONVOLUTIONS]}
    network.update({name: layout.as_matrix(layers[name]) for name in order[CONVOLUTIONS:]})
    last = network[order[-1]]
    if "bias" not in last:
        last["bias"] = np.zeros(len(last["weight"]), np.float32)
        notes.append("its last layer has no bias, which is taken as zero")
    return network, notes


def _check_floats(weights: Weights, layers: Layers) -> None:
    """Check that the parameters are floats; whole numbers have a scale somewhere, and are not the weights.

    :raises UserError: for the first that is not.
    """
    for name, layer in layers.items():
        for leaf, array in layer.items():
            dtype = getattr(array, "dtype", None) or np.asarray(array).dtype  # a quantized weight is not converted
            if dtype.kind in "iub":
                raise UserError(
                    f"the {leaf} of the layer '{shown(name)}' of {weights.path or 'the mapping'} has whole numbers "
                    f"({dtype}), as quantized networks do; save the float network"
                )


def _networks(layers: Layers) -> Dict[str, Tuple[str, ...]]:
    """Return the prefixes of names under which there are the layers of a network, with the names of its layers.

    If all layers are those of one network, the prefix is empty.
    """
    if len(layers) > MAX_LAYERS:
        return {}  # adapt says how many there are
    below: Dict[str, List[str]] = {}
    for name in layers:
        parts = name.split(".")
        for depth in range(min(len(parts), MAX_PARTS)):
            below.setdefault(".".join(parts[:depth]), []).append(name)
    networks = {prefix: tuple(names) for prefix, names in below.items() if _complete([layers[name] for name in names])}
    if "" in networks:
        return {"": networks[""]}
    distinct: Dict[Tuple[str, ...], str] = {}
    for prefix, names in networks.items():
        distinct.setdefault(names, prefix)
    return {prefix: names for names, prefix in distinct.items()}


def _complete(layers: List[Layer]) -> bool:
    """Whether there are five convolutions and three fully connected layers, which may be stored as convolutions."""
    convolutions = sum(np.ndim(layer["weight"]) == 4 for layer in layers)
    return len(layers) == _COUNT and convolutions >= CONVOLUTIONS


def _copies(weights: Weights, layers: Layers, networks: Dict[str, Tuple[str, ...]]) -> List[str]:
    """Return notes on further copies of the first network.

    :raises UserError: if one differs from it, or there are too many.
    """
    names, *others = networks.values()
    if len(networks) > MAX_NETWORKS:
        raise UserError(f"{weights.path or 'the mapping'} holds {len(networks)} networks; save one by itself")
    for copies in others:
        if not all(_equal(layers[a], layers[b]) for a, b in zip(names, copies)):
            keys = ", ".join(f"'{shown(key)}'" for key in networks)
            raise UserError(
                f"{weights.path or 'the mapping'} holds different networks under {keys}; save the one that is meant by "
                "itself"
            )
    return [f"a second copy of the network, under '{shown(prefix)}', was left out" for prefix in list(networks)[1:]]


def _equal(a: Layer, b: Layer) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[leaf], b[leaf], equal_nan=True) for leaf in a)
