"""Facts about the network that a weights file is for: which array is which, and what its shapes and layers say.

Every array and every described layer has a place in a network of the family, or is refused by its name.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ..errors import UserError
from ..networks import activations
from ..networks.architecture import LRN, OUTPUTS, ROUNDINGS, SpatialNorm
from . import Weights
from .graph import shown
from .order import by_shapes
from .steps import Step

CONVOLUTIONS, FULLY_CONNECTED = 5, 3


def layer_names(weights: Weights) -> List[str]:
    """Return the names, without ``.weight``, of the five convolutions and the three fully connected layers, in order.

    :raises UserError: naming the first array that is missing, or that no network of the family has.
    """
    where = weights.path or "the mapping"
    groups: Dict[str, Any] = {}
    for name in weights.arrays:
        layer, _, leaf = name.rpartition(".") if isinstance(name, str) else ("", "", "")
        dimensions = np.ndim(weights.arrays[name])
        if not layer or (leaf, dimensions) not in (("weight", 4), ("weight", 2), ("bias", 1)):
            raise UserError(f"the array '{short(str(name))}' of {where} has no place in a network of the family")
        groups.setdefault(layer, {})[leaf] = dimensions
    shapes = {layer: np.shape(weights.arrays.get(f"{layer}.weight", ())) for layer in groups}
    order = in_order(shapes, weights.steps)
    by_kind: Dict[int, List[str]] = {4: [], 2: []}  # dimensions of the weight -> layers
    for layer in order:
        if "weight" not in groups[layer]:
            raise UserError(f"the weights lack the array '{short(layer)}.weight' ({where} has its bias)")
        by_kind[groups[layer]["weight"]].append(layer)
    for kind, count, word in ((4, CONVOLUTIONS, "convolutions"), (2, FULLY_CONNECTED, "fully connected layers")):
        layers = by_kind[kind]
        if len(layers) > count:
            extra = short(layers[count] + ".weight")
            raise UserError(f"the array '{extra}' of {where} does not fit: the family has {count} {word}")
        if len(layers) < count:
            raise UserError(f"{where} has {len(layers)} {word}, a network of the family has {count}")
    return by_kind[4] + by_kind[2]


def in_order(shapes: Mapping[str, Tuple[int, ...]], steps: Sequence[Step]) -> List[str]:
    """Sort layers with weights of ``shapes`` by the order in which the file describes them, else :func:`.by_shapes`."""
    described = [step.name for step in steps if step.kind in ("conv", "fc") and step.name in shapes]
    return described if len(described) == len(shapes) else by_shapes(shapes)


def short(name: str) -> str:
    """Return ``name`` in printable characters and short enough for a message."""
    text = shown(name, 100)
    return text if len(name) <= 100 else text + "..."


def facts_of(weights: Weights, names: List[str]) -> Dict[str, Any]:
    """Return the fields of the variant that shapes and described layers settle.

    Besides the fields there are ``side``, the side of the last map, and ``torchvision``, whether the names are
    torchvision's.

    :param names: from :func:`layer_names`.
    :raises UserError: naming the first array or layer that contradicts the others.
    """
    shapes = [tuple(np.shape(weights.arrays[name + ".weight"])) for name in names]
    for name, shape in zip(names, shapes):
        if 0 in shape:
            raise UserError(f"the array '{short(name)}.weight' is empty: {shape}")
    columns = shapes[0][0] // shapes[1][1]
    if columns < 1 or columns * shapes[1][1] != shapes[0][0]:
        raise UserError(
            f"the array '{short(names[1])}.weight' has shape {shapes[1]}, which does not fit {shapes[0][0]} channels"
        )
    side = math.isqrt(shapes[5][1] // shapes[4][0])
    if side * side * shapes[4][0] != shapes[5][1]:
        raise UserError(
            f"the array '{short(names[5])}.weight' has shape {shapes[5]}, which does not fit {shapes[4][0]} channels"
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
    """Return the fields of the variant that the described layers settle."""
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
                f"the layer '{short(step.name)}' ({short(step.kind)}) of {where} has no place in a network of the "
                "family"
            )
        if step.kind == "conv":
            blocks.append([])
        if step.kind == "act":
            weighted = len(blocks) + sum(earlier.kind == "fc" for earlier in classifier)
            _take_activation(acts, weighted - 1, step, where)
        if classifier or step.kind in ("fc", "softmax"):
            classifier.append(step)
        elif step.kind != "avgpool":
            blocks[-1].append(step.kind)
        for name, value in _settled(step, len(blocks) == 1):
            if facts.setdefault(name, value) != value:
                field = name.replace("_", " ")
                raise UserError(
                    f"the layer '{short(step.name)}' of {where} has another {field} than the layers before it "
                    f"({value}, not {facts[name]}), and a network of the family has one"
                )
    facts["output"] = _check_classifier(weights, classifier)
    facts["blocks"] = tuple(" ".join(block) for block in blocks)
    words = tuple(acts.get(index, activations.NONE) for index in range(activations.COUNT))
    used = [word for index, word in enumerate(words) if index >= CONVOLUTIONS or word != activations.NONE]
    facts["activation"] = used[0] if len(set(used)) == 1 and used[0] != activations.NONE else words
    return facts


def _take_activation(acts: Dict[int, str], index: int, step: Step, where: str) -> None:
    """Add the activation ``step`` of layer ``index`` of those with weights, which may have only one."""
    word = step.options["function"]
    if index < activations.COUNT and acts.setdefault(index, word) != word:
        raise UserError(
            f"the layer '{short(step.name)}' of {where} is a second activation of one layer "
            f"({word} after {acts[index]}), and a network of the family has one"
        )


def _check_classifier(weights: Weights, classifier: Sequence[Step]) -> str:
    """Return the output of the network whose layers behind the convolutions are ``classifier``.

    They must be three fully connected layers, with or without an activation after each of the first two, and a
    softmax, a sigmoid or nothing at the end.
    """
    where = weights.path or "the file"
    count = 0  # fully connected layers so far
    before = ""
    output = "logits"
    for step in classifier:
        kind = step.options.get("function", step.kind)
        last = count == FULLY_CONNECTED and before == "fc"
        if step.kind == "fc" and count < FULLY_CONNECTED:
            count += 1
        elif last and kind in OUTPUTS:
            output = kind
        elif step.kind != "act" or count in (0, FULLY_CONNECTED) or before != "fc":
            raise UserError(
                f"the layer '{short(step.name)}' ({short(kind)}) of {where} has no place where a network of the "
                f"family has {_expected(count, before)}"
            )
        before = step.kind
    if count < FULLY_CONNECTED:
        raise UserError(f"{where} has {count} fully connected layers, a network of the family has {FULLY_CONNECTED}")
    return output


def _expected(count: int, before: str) -> str:
    """Name the layers that may follow ``count`` fully connected layers and a last layer of the kind ``before``."""
    if count == FULLY_CONNECTED:
        return "a softmax, a sigmoid or nothing" if before == "fc" else "nothing"
    return "an activation or fc" if before == "fc" else "fc"


def _fits(kind: str, blocks: List[List[str]], classifier: List[Step], facts: Mapping[str, Any]) -> bool:
    """Whether a layer of this kind may follow the layers so far."""
    if kind == "conv":
        return not classifier and "adaptive_pool" not in facts
    if not blocks:
        return False
    if classifier:
        return kind in ("act", "fc", "softmax")
    if "adaptive_pool" in facts:
        return kind == "fc"
    return kind in ("act", "lrn", "spatial_norm", "pool", "avgpool", "fc")


def _settled(step: Step, first_block: bool) -> List[Tuple[str, Any]]:
    """Return the fields of the variant that a layer settles, with their values."""
    options = step.options
    if step.kind == "conv":
        fields = [("conv_rounding", options["rounding"])] if options.get("rounding") else []
        return [*fields, ("conv1_pad", options["pad"])] if first_block and "pad" in options else fields
    if step.kind == "lrn":
        return [("lrn", _lrn(step))]
    if step.kind == "spatial_norm":
        return [("spatial_norm", _spatial_norm(step))]
    if step.kind == "avgpool":
        return [("adaptive_pool", options["out"])]
    if step.kind == "pool":
        # If both roundings give the same counts, "certain" is "any", and the pool settles neither.
        rounding = options.get("certain", options["rounding"])
        fields = [("pool_rounding", rounding)] if rounding in ROUNDINGS else []
        return [*fields, ("pool_kernel", options["kernel"])] if "kernel" in options else fields
    return []


def _constants(step: Step) -> Tuple[int, float, float, float]:
    """Return (size, alpha, beta, k) of a normalization."""
    values = [step.options.get(key) for key in ("alpha", "beta", "k")]
    numbers = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    size = step.options.get("size")
    if not isinstance(size, int) or len(numbers) != 3 or size < 1:
        raise UserError(f"the constants of the layer '{short(step.name)}' are not numbers")
    return size, numbers[0], numbers[1], numbers[2]


def _lrn(step: Step) -> LRN:
    size, alpha, beta, k = _constants(step)
    return LRN(size, alpha, True, beta, k, step.options["crosses_columns"])


def _spatial_norm(step: Step) -> SpatialNorm:
    size, alpha, beta, k = _constants(step)
    return SpatialNorm(size, alpha, beta, k)
