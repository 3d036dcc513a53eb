"""From the arrays of any file to a network of the family: which one it is, and its arrays under the network's names.

Shapes give the widths and the numbers of classes and columns. The rest (LRN and its constants, the order of LRN and
pool, the rounding) comes from the layers that Caffe and ONNX files describe, else from the names of the arrays. If
neither settles it, :class:`Found` says what was assumed and which other networks fit.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..errors import UserError
from ..networks.architecture import LRN, Variant
from ..networks.variants import VARIANTS, get
from . import VARIANT_NAME_KEY, Weights
from .companion import CONFIG as COMPANION
from .facts import facts_of, in_order, layer_names, short

_STRUCTURE = (  # fields of a variant that change what it computes
    *("columns", "conv1_pad", "conv_rounding", "pool_rounding", "pool_kernel", "blocks", "lrn", "spatial_norm"),
    *("adaptive_pool", "activation", "output"),
)
_LPIPS_TRUNK = "net.slice"
_SAME_NUMBER = 1e-5  # relative difference of equal constants: files hold them in fp32


class Found(NamedTuple):
    """The network that a set of arrays is for.

    ``note`` says how it was recognized, ``others`` are the names of variants that fit as well. Unless ``certain``,
    something was assumed, and the user should be told.
    """

    variant: Variant
    note: str
    others: Tuple[str, ...] = ()
    certain: bool = True


def find(weights: Weights) -> Found:
    """Find the network that ``weights`` are for.

    :raises UserError: naming the first array or layer that fits no network of the family.
    """
    named = weights.variant()
    if named is not None:
        return Found(named, "the file names it")
    if VARIANT_NAME_KEY in weights.metadata:
        name = weights.metadata[VARIANT_NAME_KEY]
        return Found(row_for(weights, name), f"{COMPANION} beside the file names it")
    names = layer_names(weights)
    facts = facts_of(weights, names)
    scores = {row.name: _score(row, facts) for row in VARIANTS.values()}
    best = [name for name in VARIANTS if scores[name] == max(scores.values())]
    row = _overridden(VARIANTS[best[0]], facts)
    _check_options(weights, row)
    _check_shapes(weights, names, row)
    if len(best) == 1 and not weights.steps and not _published(weights, row):
        note = "assumed from the shapes of its arrays, whose names or widths are not those of a published network"
        note += _changes(VARIANTS[best[0]], row)
        return Found(row, f"{note}; pass variant= if it is another ({', '.join(VARIANTS)})", certain=False)
    if len(best) == 1:
        how = f"recognized by {'its layers' if weights.steps else 'the names and shapes of its arrays'}"
        return Found(row, how + _changes(VARIANTS[best[0]], row))
    others = tuple(best[1:])
    note = f"assumed from the shapes, which fit {' and '.join(others)} too: pass variant= if it is one of them"
    return Found(row, note, others, False)


def row_for(
    weights: Weights, requested: Union[str, Variant, None], num_classes: Optional[int] = None, **overrides: Any
) -> Variant:
    """Return the row of the network that ``weights`` are for, with ``overrides`` of its fields.

    It is ``requested``, or else the one found. The row of a name takes the widths, the channels and the number of
    classes of the arrays.

    :raises UserError: if there is no such variant, or the weights fit none.
    """
    if requested is None:
        return get(find(weights).variant, num_classes=num_classes, **overrides)
    if isinstance(requested, str):
        num_classes = num_classes or class_count(weights)
        overrides = {key: value for key, value in overrides.items() if value is not None}
        overrides = {**_own_sizes(weights, get(requested, **overrides)), **overrides}
    return get(requested, num_classes=num_classes, **overrides)


def _own_sizes(weights: Weights, row: Variant) -> Dict[str, Any]:
    """Return the fields of ``row`` that the sizes of the arrays replace, if the structure is that of the row."""
    try:
        facts = facts_of(weights, layer_names(weights))
    except UserError:
        return {}  # initial.check names the array that does not fit
    if row.columns != facts["columns"] or _last_side(row) != facts["side"]:
        return {}
    return {key: facts[key] for key in ("channels", "widths") if facts[key] != getattr(row, key)}


def _published(weights: Weights, row: Variant) -> bool:
    """Whether names and shapes are those of a published network, with any number of classes and prefix of names."""
    base = VARIANTS.get(row.name)
    if base is None:
        return False
    shapes = get(base, num_classes=row.num_classes).parameter_shapes()
    first = next(iter(shapes))
    prefix = next((name[: -len(first)] for name in weights.arrays if str(name).endswith(first)), "")
    actual = {name: tuple(np.shape(array)) for name, array in weights.arrays.items()}
    return actual == {prefix + name: tuple(shape) for name, shape in shapes.items()}


def fit(weights: Weights, variant: Variant) -> Dict[str, np.ndarray]:
    """Return the arrays under the names of ``variant``, matched by the order of the layers with weights.

    Arrays that have these names already, or that cannot be matched, are returned unchanged.
    """
    shapes = variant.parameter_shapes()
    if set(shapes) == set(weights.arrays):
        return weights.arrays
    try:
        names = layer_names(weights)
    except UserError:
        return weights.arrays  # initial.check says what is missing
    targets = [name[: -len(".weight")] for name in shapes if name.endswith(".weight")]
    renamed = {}
    for own, target in zip(names, targets):
        for leaf in (".weight", ".bias"):
            if own + leaf in weights.arrays:
                renamed[target + leaf] = weights.arrays[own + leaf]
    return renamed


def convolutions(weights: Weights, names: Sequence[str]) -> Dict[str, np.ndarray]:
    """Return the arrays of the convolutions, matched by their order, under ``names`` (a weight and a bias each).

    The file may have other arrays: those of fully connected layers, or all of ``lpips.LPIPS().state_dict()``, whose
    trunk is called ``net.slice1.0.weight`` and so on (lpips/pretrained_networks.py).

    :raises UserError: if the number of convolutions differs.
    """
    trunk = [name for name in weights.arrays if name.startswith(_LPIPS_TRUNK)] or list(weights.arrays)
    weighted = [name for name in trunk if name.endswith(".weight") and np.ndim(weights.arrays[name]) == 4]
    layers = in_order({name[: -len(".weight")]: np.shape(weights.arrays[name]) for name in weighted}, weights.steps)
    if 2 * len(layers) != len(names):
        where = weights.path or "the mapping"
        raise UserError(f"{where} has {len(layers)} convolutions, AlexNet has {len(names) // 2}")
    own = [layer + leaf for layer in layers for leaf in (".weight", ".bias")]
    return {target: weights.arrays[name] for name, target in zip(own, names) if name in weights.arrays}


def class_count(weights: Weights) -> Optional[int]:
    """Return the number of outputs of the last layer, or None if the arrays are not those of a network."""
    try:
        return int(np.shape(weights.arrays[layer_names(weights)[-1] + ".weight"])[0])
    except UserError:
        return None


def _score(row: Variant, facts: Mapping[str, Any]) -> Tuple[bool, ...]:
    """Compare ``row`` with the facts; of two rows the one with the greater tuple is closer to them."""
    described = "blocks" in facts
    return (
        not described or row.blocks == facts["blocks"],
        not described or _same_lrn(row.lrn, facts.get("lrn"), row.columns),
        _last_side(row) == facts["side"],
        row.widths == facts["widths"],
        row.columns == facts["columns"],
        facts["torchvision"] and row.naming == "torchvision",
        not described or row.pool_rounding == facts.get("pool_rounding", row.pool_rounding),
    )


def _last_side(row: Variant) -> int:
    """Return the side of the map that the first fully connected layer reads."""
    if row.adaptive_pool:
        return row.adaptive_pool
    inputs = row.parameter_shapes()[[name for name in row.parameter_shapes() if name.endswith(".weight")][5]][1]
    return math.isqrt(inputs // row.widths[4])


def _same_lrn(a: Optional[LRN], b: Optional[LRN], columns: int) -> bool:
    if a is None or b is None:
        return a is b
    constants = zip((a.effective_alpha, a.beta, a.k), (b.effective_alpha, b.beta, b.k))
    return (
        a.size == b.size
        and (columns == 1 or a.crosses_columns == b.crosses_columns)
        and all(math.isclose(x, y, rel_tol=_SAME_NUMBER) for x, y in constants)
    )


def _overridden(row: Variant, facts: Mapping[str, Any]) -> Variant:
    """Return ``row`` with the fields that the file settles."""
    fields = ("channels", "widths", "num_classes", *_STRUCTURE)
    changes = {key: facts[key] for key in fields if key in facts and facts[key] != getattr(row, key)}
    if "blocks" in facts and "adaptive_pool" not in facts and row.adaptive_pool not in (None, facts["side"]):
        changes["adaptive_pool"] = None  # to the side that the map has already, the pool would change nothing
    if "lrn" in changes and _same_lrn(row.lrn, changes["lrn"], facts["columns"]):
        del changes["lrn"]
    changed = dataclasses.replace(row, **changes)
    stated = facts.get("input_size")
    # Without a stated size it is the row's own, or the smallest that the first fully connected layer fits.
    for size in (stated,) if stated else (row.input_size, *range(63, 321)):
        try:
            resized = dataclasses.replace(changed, input_size=size)
            if _last_side(resized) == facts["side"]:
                return resized
        except UserError:
            continue
    return changed


def _changes(row: Variant, changed: Variant) -> str:
    keys = [key for key in (*_STRUCTURE, "input_size") if getattr(row, key) != getattr(changed, key)]
    return "".join(f"; its {key} differs: {getattr(changed, key)}" for key in keys)


def _check_options(weights: Weights, row: Variant) -> None:
    """Check the strides, pads, groups and windows that the file states against those of ``row``."""
    kinds = {"conv": "conv", "maxpool": "pool"}
    layers = [layer for layer in row.layers() if layer.op in kinds]
    steps = [step for step in weights.steps if step.kind in kinds.values()]
    for layer, step in zip(layers, steps):
        for key in ("kernel", "stride", "pad", "groups"):
            if key in step.options and key in layer.options and step.options[key] != layer.options[key]:
                raise UserError(
                    f"the layer '{short(step.name)}' of {weights.path} has {key} {step.options[key]}, "
                    f"{row.name} has {layer.options[key]}"
                )


def _check_shapes(weights: Weights, names: List[str], row: Variant) -> None:
    shapes = row.parameter_shapes()
    targets = [name for name in shapes if name.endswith(".weight")]
    for own, target in zip(names, targets):
        for leaf, name in ((".weight", target), (".bias", target[: -len(".weight")] + ".bias")):
            if own + leaf not in weights.arrays:
                raise UserError(f"the weights lack the array '{short(own)}{leaf}' that {row.name} needs")
            shape = tuple(np.shape(weights.arrays[own + leaf]))
            if shape != shapes[name]:
                raise UserError(
                    f"the array '{short(own)}{leaf}' has shape {shape}; {row.name}, the closest of the family, has "
                    f"{shapes[name]}"
                )
