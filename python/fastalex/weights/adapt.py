"""From the arrays of any file to a network of the family: which one it is, and its arrays under the network's names.

Shapes give the widths, the number of classes and of columns. What they cannot tell (LRN and its constants, the order of
LRN and pool, the rounding) comes from the layers that Caffe and ONNX files describe, else from the names; where neither
settles it, :class:`Found` says what was assumed and what else would fit.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import UserError
from ..networks import activations
from ..networks.architecture import LRN, OUTPUTS, ROUNDINGS, SpatialNorm, Variant
from ..networks.variants import VARIANTS, get
from . import Weights
from .graph import shown
from .steps import Step

CONVOLUTIONS, FULLY_CONNECTED = 5, 3
_STRUCTURE = (  # fields that change the network
    *("columns", "conv1_pad", "conv_rounding", "pool_rounding", "pool_kernel", "blocks", "lrn", "spatial_norm"),
    *("adaptive_pool", "activation", "output"),
)
_SAME_NUMBER = 1e-5  # relative: files hold constants in fp32


class Found(NamedTuple):
    """The network that a set of arrays is for; ``note`` says how that was found; ``others`` would fit as well.

    ``certain``: nothing was assumed, or the caller should be told."""

    variant: Variant
    note: str
    others: Tuple[str, ...] = ()
    certain: bool = True


def find(weights: Weights) -> Found:
    """The network that ``weights`` are for.

    :raises UserError: naming the first array or layer that fits none of the family.
    """
    said = weights.variant()
    if said is not None:
        return Found(said, "the file names it")
    names = _parameters(weights)
    facts = _facts(weights, names)
    scores = {row.name: _score(row, facts) for row in VARIANTS.values()}
    best = [name for name in VARIANTS if scores[name] == max(scores.values())]
    row = _overridden(VARIANTS[best[0]], facts)
    _check_options(weights, row)
    _check_shapes(weights, names, row)
    if len(best) == 1 and not weights.steps and not _published(weights, row):
        note = "assumed from the shapes of its arrays, whose names or widths are of no published network"
        note += _changes(VARIANTS[best[0]], row)
        return Found(row, f"{note}; if it is another, pass variant= ({', '.join(VARIANTS)})", certain=False)
    if len(best) == 1:
        how = f"found from {'its layers' if weights.steps else 'the names and shapes of its arrays'}"
        return Found(row, how + _changes(VARIANTS[best[0]], row))
    others = tuple(best[1:])
    note = f"assumed from the shapes, which fit {' and '.join(others)} too: pass variant= if it is one of them"
    return Found(row, note, others, False)


def _published(weights: Weights, row: Variant) -> bool:
    """Whether names, their numbers and shapes are exactly those of a network of the family, up to its classes."""
    base = VARIANTS.get(row.name)
    if base is None:
        return False
    shapes = get(base, num_classes=row.num_classes).parameter_shapes()
    first = next(iter(shapes))
    prefix = next((name[: -len(first)] for name in weights.arrays if str(name).endswith(first)), "")
    found = {name: tuple(np.shape(array)) for name, array in weights.arrays.items()}
    return found == {prefix + name: tuple(shape) for name, shape in shapes.items()}


def fit(weights: Weights, variant: Variant) -> Dict[str, np.ndarray]:
    """The arrays under the names of ``variant``, matched by their place among the convolutions and fully connected
    layers. Arrays that have its names already, or that cannot be matched, come back as they are."""
    shapes = variant.parameter_shapes()
    if set(shapes) == set(weights.arrays):
        return weights.arrays
    try:
        names = _parameters(weights)
    except UserError:
        return weights.arrays  # the check of the shapes says what is missing
    wanted = [name[: -len(".weight")] for name in shapes if name.endswith(".weight")]
    renamed = {}
    for own, target in zip(names, wanted):
        for leaf in (".weight", ".bias"):
            if own + leaf in weights.arrays:
                renamed[target + leaf] = weights.arrays[own + leaf]
    return renamed


def convolutions(weights: Weights, wanted: Sequence[str]) -> Dict[str, np.ndarray]:
    """The arrays of the convolutions alone, under the names ``wanted``, matched by their place.

    The file may have more: fully connected layers, or all that ``lpips.LPIPS().state_dict()`` has, whose trunk is
    called ``net.slice1.0.weight`` and so on (lpips/pretrained_networks.py).

    :raises UserError: if there are not as many convolutions.
    """
    trunk = [name for name in weights.arrays if name.startswith(_LPIPS_TRUNK)] or list(weights.arrays)
    weighted = [name for name in trunk if name.endswith(".weight") and np.ndim(weights.arrays[name]) == 4]
    layers = _order({name[: -len(".weight")]: None for name in weighted}, weights.steps)
    if 2 * len(layers) != len(wanted):
        where = weights.path or "the mapping"
        raise UserError(f"{where} has {len(layers)} convolutions, AlexNet has {len(wanted) // 2}")
    own = [layer + leaf for layer in layers for leaf in (".weight", ".bias")]
    return {target: weights.arrays[name] for name, target in zip(own, wanted) if name in weights.arrays}


def class_count(weights: Weights) -> Optional[int]:
    """Outputs of the last layer, or None if the arrays are no network of the family."""
    try:
        return int(np.shape(weights.arrays[_parameters(weights)[-1] + ".weight"])[0])
    except UserError:
        return None


# Which array is what ------------------------------------------------------------------------------------------------


def _parameters(weights: Weights) -> List[str]:
    """The names, without ``.weight``, of the five convolutions and three fully connected layers in their order."""
    where = weights.path or "the mapping"
    groups: Dict[str, Any] = {}
    for name in weights.arrays:
        layer, _, leaf = name.rpartition(".") if isinstance(name, str) else ("", "", "")
        dimensions = np.ndim(weights.arrays[name])
        if not layer or (leaf, dimensions) not in (("weight", 4), ("weight", 2), ("bias", 1)):
            raise UserError(f"the array '{_short(str(name))}' of {where} has no place in a network of the family")
        groups.setdefault(layer, {})[leaf] = dimensions
    order = _order(groups, weights.steps)
    by_kind = {4: [], 2: []}  # type: Dict[int, List[str]]
    for layer in order:
        if "weight" not in groups[layer]:
            raise UserError(f"the weights lack the array '{_short(layer)}.weight' ({where} has its bias)")
        by_kind[groups[layer]["weight"]].append(layer)
    for kind, count, word in ((4, CONVOLUTIONS, "convolutions"), (2, FULLY_CONNECTED, "fully connected layers")):
        found = by_kind[kind]
        if len(found) > count:
            extra = _short(found[count] + ".weight")
            raise UserError(f"the array '{extra}' of {where} does not fit: the family has {count} {word}")
        if len(found) < count:
            raise UserError(f"{where} has {len(found)} {word}, a network of the family has {count}")
    return by_kind[4] + by_kind[2]


def _order(groups: Mapping[str, Any], steps: Sequence[Step]) -> List[str]:
    """Layers in the order of the file's own steps; without those, numbers in names count as numbers."""
    described = [step.name for step in steps if step.kind in ("conv", "fc") and step.name in groups]
    if len(described) == len(groups):
        return described
    return sorted(groups, key=lambda name: [int(p) if p.isdigit() else p for p in _NUMBERS.split(name[:200])])


_LPIPS_TRUNK = "net.slice"
_NUMBERS = re.compile(r"([0-9]+)")


def _short(name: str) -> str:
    """``name`` as a message shows it: a file must not steer a terminal, nor fill it."""
    text = shown(name, 100)
    return text if len(name) <= 100 else text + "..."


# What the arrays and steps say ---------------------------------------------------------------------------------------


def _facts(weights: Weights, names: List[str]) -> Dict[str, Any]:
    """Fields of the variant that are known; ``side`` is the side of the last map, ``naming`` that of the file."""
    shapes = [tuple(np.shape(weights.arrays[name + ".weight"])) for name in names]
    for name, shape in zip(names, shapes):
        if 0 in shape:
            raise UserError(f"the array '{_short(name)}.weight' is empty: {shape}")
    columns = shapes[0][0] // shapes[1][1]
    if columns < 1 or columns * shapes[1][1] != shapes[0][0]:
        raise UserError(
            f"the array '{_short(names[1])}.weight' has shape {shapes[1]}, which does not fit {shapes[0][0]} channels"
        )
    side = math.isqrt(shapes[5][1] // shapes[4][0])
    if side * side * shapes[4][0] != shapes[5][1]:
        raise UserError(
            f"the array '{_short(names[5])}.weight' has shape {shapes[5]}, which does not fit {shapes[4][0]} channels"
        )
    facts = {
        "channels": shapes[0][1],
        "columns": columns,
        "widths": tuple(shape[0] for shape in shapes[:7]),
        "num_classes": shapes[7][0],
        "side": side,
        "torchvision": names[0].endswith("features.0"),
    }
    facts.update(_described(weights))
    return facts


def _described(weights: Weights) -> Dict[str, Any]:
    """What the steps say of the network. Every one of them has its place there, or is refused by its name."""
    if not weights.steps:
        return {}
    facts: Dict[str, Any] = {}
    blocks: List[List[str]] = []
    classifier: List[Step] = []
    acts: Dict[int, str] = {}
    where = weights.path or "the file"
    for step in weights.steps:
        if step.kind == "input":
            facts["input_size"] = step.options.get("size")
            continue
        if not _fits(step.kind, blocks, classifier, facts):
            raise UserError(
                f"the layer '{_short(step.name)}' ({_short(step.kind)}) of {where} has no place in a network of the family"
            )
        if step.kind == "conv":
            blocks.append([])
        if step.kind == "act":
            weighted = len(blocks) + sum(one.kind == "fc" for one in classifier)
            _take_activation(acts, weighted - 1, step, where)
        if classifier or step.kind in ("fc", "softmax"):
            classifier.append(step)
        elif step.kind != "avgpool":
            blocks[-1].append(step.kind)
        for name, value in _said(step, len(blocks) == 1):
            if facts.setdefault(name, value) != value:
                raise UserError(
                    "the layer '{}' of {} has another {} than the layers before it ({}, not {}), and a network of the "
                    "family has one".format(_short(step.name), where, name.replace("_", " "), value, facts[name])
                )
    facts["output"] = _check_classifier(weights, classifier)
    facts["blocks"] = tuple(" ".join(block) for block in blocks)
    found = tuple(acts.get(index, activations.NONE) for index in range(activations.COUNT))
    used = [word for index, word in enumerate(found) if index >= CONVOLUTIONS or word != activations.NONE]
    facts["activation"] = used[0] if len(set(used)) == 1 and used[0] != activations.NONE else found
    return facts


def _take_activation(acts: Dict[int, str], index: int, step: Step, where: str) -> None:
    """Note the activation of layer ``index`` of those with weights, of which it may have one."""
    word = step.options["function"]
    if index < activations.COUNT and acts.setdefault(index, word) != word:
        raise UserError(
            f"the layer '{_short(step.name)}' of {where} is a second activation of one layer ({word} behind {acts[index]}), and a network of the family has "
            "one"
        )


def _check_classifier(weights: Weights, found: Sequence[Step]) -> str:
    """The output of the network whose layers behind the convolutions are ``found``: three fully connected layers, an
    activation or none after each of the first two, a softmax, a sigmoid or neither at the end."""
    where = weights.path or "the file"
    count = 0  # fully connected layers so far
    before = ""
    output = "logits"
    for step in found:
        kind = step.options.get("function", step.kind)
        last = count == FULLY_CONNECTED and before == "fc"
        if step.kind == "fc" and count < FULLY_CONNECTED:
            count += 1
        elif last and kind in OUTPUTS:
            output = kind
        elif step.kind != "act" or count in (0, FULLY_CONNECTED) or before != "fc":
            said = (_short(step.name), _short(kind), where, _wanted(count, before))
            raise UserError("the layer '{}' ({}) of {} has no place where a network of the family has {}".format(*said))
        before = step.kind
    if count < FULLY_CONNECTED:
        raise UserError(f"{where} ends with {len(found)} layers where the family has fc")
    return output


def _wanted(count: int, before: str) -> str:
    """What may follow so many fully connected layers."""
    if count == FULLY_CONNECTED:
        return "a softmax, a sigmoid or nothing" if before == "fc" else "nothing"
    return "an activation or fc" if before == "fc" else "fc"


def _fits(kind: str, blocks: List[List[str]], classifier: List[Step], facts: Mapping[str, Any]) -> bool:
    """Whether a layer of this kind may follow what was there so far."""
    if kind == "conv":
        return not classifier and "adaptive_pool" not in facts
    if not blocks:
        return False
    if classifier:
        return kind in ("act", "fc", "softmax")
    if "adaptive_pool" in facts:
        return kind == "fc"
    return kind in ("act", "lrn", "spatial_norm", "pool", "avgpool", "fc")


def _said(step: Step, first_block: bool) -> List[Tuple[str, Any]]:
    """Fields of the variant that a step settles, and their values."""
    options = step.options
    if step.kind == "conv":
        said = [("conv_rounding", options["rounding"])] if options.get("rounding") else []
        return [*said, ("conv1_pad", options["pad"])] if first_block and "pad" in options else said
    if step.kind == "lrn":
        return [("lrn", _lrn(step))]
    if step.kind == "spatial_norm":
        return [("spatial_norm", _spatial_norm(step))]
    if step.kind == "avgpool":
        return [("adaptive_pool", options["out"])]
    if step.kind == "pool":
        # Where the counts come out even, it does not matter how they are rounded.
        rounding = options.get("certain", options["rounding"])
        said = [("pool_rounding", rounding)] if rounding in ROUNDINGS else []
        return [*said, ("pool_kernel", options["kernel"])] if "kernel" in options else said
    return []


def _constants(step: Step) -> Tuple[int, float, float, float]:
    """(size, alpha, beta, k) of a normalization."""
    values = [step.options.get(key) for key in ("alpha", "beta", "k")]
    size = step.options.get("size")
    if not isinstance(size, int) or not all(isinstance(v, float) and math.isfinite(v) for v in values) or size < 1:
        raise UserError(f"the constants of the layer '{_short(step.name)}' are no numbers")
    return size, values[0], values[1], values[2]


def _lrn(step: Step) -> LRN:
    size, alpha, beta, k = _constants(step)
    return LRN(size, alpha, True, beta, k, step.options["crosses_columns"])


def _spatial_norm(step: Step) -> SpatialNorm:
    size, alpha, beta, k = _constants(step)
    return SpatialNorm(size, alpha, beta, k)


# Choosing a row -----------------------------------------------------------------------------------------------------


def _score(row: Variant, facts: Mapping[str, Any]) -> Tuple[bool, ...]:
    """The more of the first entries are true, the closer ``row`` is."""
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
    if row.adaptive_pool:
        return row.adaptive_pool
    inputs = row.parameter_shapes()[[name for name in row.parameter_shapes() if name.endswith(".weight")][5]][1]
    return math.isqrt(inputs // row.widths[4])


def _same_lrn(one: Optional[LRN], other: Optional[LRN], columns: int) -> bool:
    if one is None or other is None:
        return one is other
    numbers = zip((one.effective_alpha, one.beta, one.k), (other.effective_alpha, other.beta, other.k))
    return (
        one.size == other.size
        and (columns == 1 or one.crosses_columns == other.crosses_columns)
        and all(math.isclose(a, b, rel_tol=_SAME_NUMBER) for a, b in numbers)
    )


def _overridden(row: Variant, facts: Mapping[str, Any]) -> Variant:
    """``row`` with the fields that the file settles."""
    fields = ("channels", "widths", "num_classes", *_STRUCTURE)
    changes = {key: facts[key] for key in fields if key in facts and facts[key] != getattr(row, key)}
    if "blocks" in facts and "adaptive_pool" not in facts and row.adaptive_pool not in (None, facts["side"]):
        changes["adaptive_pool"] = None  # at the side that the map has, it changes nothing
    if "lrn" in changes and _same_lrn(row.lrn, changes["lrn"], facts["columns"]):
        del changes["lrn"]
    changed = dataclasses.replace(row, **changes)
    said = facts.get("input_size")
    # A file that does not say is for the row's own size, or for the smallest that its first fully connected layer fits.
    for size in (said,) if said else (row.input_size, *range(63, 321)):
        try:
            resized = dataclasses.replace(changed, input_size=size)
            if _last_side(resized) == facts["side"]:
                return resized
        except UserError:
            continue
    return changed


def _changes(row: Variant, found: Variant) -> str:
    changed = [key for key in (*_STRUCTURE, "input_size") if getattr(row, key) != getattr(found, key)]
    return "".join(f"; its {key} differs: {getattr(found, key)}" for key in changed)


def _check_options(weights: Weights, row: Variant) -> None:
    """Strides, pads, groups and windows that the file states must be those of the row."""
    kinds = {"conv": "conv", "maxpool": "pool"}
    layers = [layer for layer in row.layers() if layer.op in kinds]
    steps = [step for step in weights.steps if step.kind in kinds.values()]
    for layer, step in zip(layers, steps):
        for key in ("kernel", "stride", "pad", "groups"):
            if key in step.options and key in layer.options and step.options[key] != layer.options[key]:
                raise UserError(
                    f"the layer '{_short(step.name)}' of {weights.path} has {key} {step.options[key]}, {row.name} has {layer.options[key]}"
                )


def _check_shapes(weights: Weights, names: List[str], row: Variant) -> None:
    shapes = row.parameter_shapes()
    wanted = [name for name in shapes if name.endswith(".weight")]
    for own, target in zip(names, wanted):
        for leaf, name in ((".weight", target), (".bias", target[: -len(".weight")] + ".bias")):
            if own + leaf not in weights.arrays:
                raise UserError(f"the weights lack the array '{_short(own)}{leaf}' that {row.name} needs")
            shape = tuple(np.shape(weights.arrays[own + leaf]))
            if shape != shapes[name]:
                raise UserError(
                    f"the array '{_short(own)}{leaf}' has shape {shape}; {row.name}, the closest of the family, has {shapes[name]}"
                )
