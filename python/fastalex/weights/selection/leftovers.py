"""Arrays beside those of the network: which may be left out, and what is told of them."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import numpy as np

from ..graph import shown
from .names import Layers

_SHOWN = 5  # names in a note
_NORMALIZER = ("mean", "std", "new_mean", "new_std")
_LOSSES = ("crit", "loss", "class_weight", "entropy", "objective", "cost")  # in the names of modules
_SHORT_LOSSES = ("ce", "bce", "nll", "xent", "focal")  # names of modules


def sort(others: Dict[str, Any], unused: Layers, network: Layers, prefix: str) -> Tuple[List[str], Dict[str, Any]]:
    """Return notes on the arrays that are left out, and the arrays that have no place in the network but belong to it.

    :param others: arrays that belong to no layer with weights; ``unused``: layers with weights of other modules.
    :param prefix: of the names of the network's layers; arrays without it are of other modules, and are left out.
    """
    told: List[str] = []
    names: List[str] = list(unused)
    inside: Dict[str, Any] = {}
    layers = [np.shape(layer["weight"]) for layer in network.values()]
    for name, array in others.items():
        if _is_normalizer(name, array, layers[0][1]):
            values = ", ".join(f"{value:.6g}" for value in np.asarray(array).reshape(-1))
            told.append(f"'{shown(name)}' ({values}) was left out: the preprocessing has to do its work")
        elif _is_outside(str(name), prefix) or (not _is_beside(str(name), network) and _harmless(name, array, layers)):
            names.append(name)
        else:
            inside[name] = array
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        listed = ", ".join(f"'{shown(str(name))}'" for name in names[:_SHOWN])
        told.append(f"{listed}{more} {'is' if len(names) == 1 else 'are'} not of the network and left out")
    return told, inside


def _is_normalizer(name: str, array: Any, channels: int) -> bool:
    """Whether an array is the mean or the deviation of a layer that normalizes pictures."""
    return str(name).rpartition(".")[2] in _NORMALIZER and np.asarray(array).size in (1, channels)


def _is_outside(name: str, prefix: str) -> bool:
    """Whether an array belongs to another module than the network's."""
    return bool(prefix) and not name.startswith(prefix + ".")


def _is_beside(name: str, network: Layers) -> bool:
    """Whether an array lies beside the weight of a layer of the network, as scales and zero points do."""
    name = name.replace("/", ".")
    return any(name.startswith((layer + ".", layer + "_")) for layer in network)


def _harmless(name: str, array: Any, layers: List[Tuple[int, ...]]) -> bool:
    """Whether an array cannot be a part of the computation: a counter, or the weights of the classes in a loss."""
    values = np.asarray(array)
    layer, _, leaf = str(name).rpartition(".")
    if leaf in ("num_batches_tracked", "running_mean", "running_var"):
        return False
    if values.ndim == 0 or values.dtype.kind in "iub":
        return True
    if values.shape != (layers[-1][0],) or leaf != "weight":
        return False
    return any(word in layer.lower() for word in _LOSSES) or layer.lower().rpartition(".")[2] in _SHORT_LOSSES
