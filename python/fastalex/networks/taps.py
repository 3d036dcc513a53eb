"""Names of layers, as the tools that read them out write them.

Each layer has a name of its own, so before and after an activation are two names: ``conv5`` is the convolution's
result and ``relu5`` the activation's; ``fc7`` and ``relu7`` alike. (Caffe computes its ReLU in place, so its *blob*
``conv5`` is what is called ``relu5`` here: write ``blob:conv5`` for Caffe's reading.)

Accepted besides:

* ``conv5.pre`` and ``conv5.post``: before and after the activation, whatever stands between them (a pool in
  ``alexnet2012-original``).
* torchvision's module names, ``features.10``, ``avgpool``, ``classifier.4``, for the ``torchvision`` variant. These
  are also the names of thingsvision and Net2Brain, and of Brain-Score's ``LAYERS`` (``features.2`` to
  ``classifier.5``), which :data:`TOOLS` lists. ``features`` and ``classifier`` are the results of the last of each.
  The ReLU's module works in place there; a name stands for the module's own result, as a hook that
  clones it would see.
* ``prob``: the softmax (of a network that ends in a sigmoid, that). ``logits``: the last fully connected layer.
"""

from __future__ import annotations

import difflib
import functools
from typing import Dict, List, Mapping, NamedTuple, Tuple

import numpy as np

from ..errors import UserError
from . import activations
from .architecture import PROBABILITY, Variant, module_paths
from .layers import Layer


class Tool(NamedTuple):
    """What a tool that reads layers out asks of torchvision's AlexNet: the layers, and the preprocessing profile."""

    layers: Tuple[str, ...]
    profile: str


#: * brain-score: github.com/brain-score/vision, ``brainscore_vision/models/alexnet/model.py`` (``LAYERS``).
#: * brain-score-convs: the same project's ``alexnet_7be5be79_convs``, before the ReLUs.
#: * thingsvision: github.com/ViCCo-Group/thingsvision, its README's and its tests' module.
#: * net2brain: github.com/cvai-roig-lab/Net2Brain, ``net2brain/architectures/configs/pytorch.json``.
TOOLS: Dict[str, Tool] = {
    "brain-score": Tool(
        ("features.2", "features.5", "features.7", "features.9", "features.12", "classifier.2", "classifier.5"),
        "brainscore",
    ),
    "brain-score-convs": Tool(
        ("features.3", "features.6", "features.8", "features.10", "classifier.1", "classifier.4"), "brainscore"
    ),
    "thingsvision": Tool(("features.10", "classifier.4"), "torchvision"),
    "net2brain": Tool(("features.0", "features.3", "features.6", "features.8", "features.10"), "net2brain"),
}

SOFTMAX = "softmax"  # the engine's name of the step it appends


def names(variant: Variant) -> Dict[str, str]:
    """Every accepted name -> the layer of the engine's table whose result it is."""
    return dict(_names(variant))


@functools.lru_cache(maxsize=16)
def _names(variant: Variant) -> Mapping[str, str]:
    table = variant.layers()
    known: Dict[str, str] = {}
    source = ""  # the layer whose result the next one reads; a dropout's result is its input
    for layer in table:
        source = source if layer.op == "dropout" else layer.name
        known[layer.name] = source
    known.update(_around_activations(table))
    for path, layer in module_paths(variant):
        known[path] = known[layer.name]
        block = path.split(".")[0]
        if block != path:  # torchvision's features and classifier, whose result is that of their last module
            known[block] = known[layer.name]
    known["logits"] = [layer.name for layer in table if layer.op == "fc"][-1]
    known.setdefault(PROBABILITY, SOFTMAX)  # a network that gives it has a layer of that name
    return known


def resolve(variant: Variant, wanted: List[str]) -> List[str]:
    """The engine's layer for each of ``wanted``.

    :raises UserError: for a name that this network does not have.
    """
    known = _names(variant)
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise UserError(f"{variant.name} has no layer '{name}'{hint} (there are: {', '.join(known)})")
    return [known[name] for name in wanted]


def shaped(name: str, result: np.ndarray) -> np.ndarray:
    """The result as the module ``name`` has it: what is in torchvision's ``classifier`` sees a flattened map."""
    return result.reshape(len(result), -1) if name.split(".")[0] == "classifier" else result


def _around_activations(table: List[Layer]) -> Dict[str, str]:
    """``convN.pre``, ``convN.post`` and ``blob:convN`` for each layer with weights."""
    found: Dict[str, str] = {}
    weighted = ""
    for layer in table:
        if layer.param:
            weighted = layer.name
            found[weighted + ".pre"] = found["blob:" + weighted] = weighted
        elif layer.op in activations.OPS and layer.name != PROBABILITY:
            found[weighted + ".post"] = found["blob:" + weighted] = layer.name
    return found
