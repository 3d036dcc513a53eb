"""Names of layers, as the tools that read them out write them.

Each layer has a name of its own, so before and after an activation are two names: ``conv5`` is the convolution's
result and ``relu5`` the activation's; ``fc7`` and ``relu7`` alike. (Caffe computes its ReLU in place, so its *blob*
``conv5`` is what is called ``relu5`` here: write ``blob:conv5`` for Caffe's reading.)

Accepted besides:

* ``conv5.pre`` and ``conv5.post``: before and after the activation, whatever stands between them (a pool in
  ``alexnet2012-original``).
* torchvision's module names, ``features.10``, ``avgpool``, ``classifier.4``, for the ``torchvision`` variant. These
  are also the names of thingsvision and Net2Brain, and of Brain-Score's ``LAYERS`` (``features.2`` to
  ``classifier.5``). The ReLU's module works in place there; a name stands for the module's own result, as a hook that
  clones it would see.
* ``prob``: the softmax. ``logits``: the last layer.
"""

from __future__ import annotations

import difflib
from typing import Dict, List

import numpy as np

from .errors import UserError
from .layers import Layer, module_paths
from .variants import Variant

PROBABILITY = "prob"
SOFTMAX = "softmax"  # the engine's name of the step it appends
ACTIVATIONS = ("relu", "tanh")


def names(variant: Variant) -> Dict[str, str]:
    """Every accepted name -> the layer of the engine's table whose result it is."""
    table = variant.layers()
    known: Dict[str, str] = {}
    source = ""  # the layer whose result the next one reads; a dropout's result is its input
    for layer in table:
        source = source if layer.op == "dropout" else layer.name
        known[layer.name] = source
    known.update(_around_activations(table))
    for path, layer in module_paths(variant):
        known[path] = known[layer.name]
    known["logits"] = table[-1].name
    known[PROBABILITY] = SOFTMAX
    return known


def resolve(variant: Variant, wanted: List[str]) -> List[str]:
    """The engine's layer for each of ``wanted``.

    :raises UserError: for a name that this network does not have.
    """
    known = names(variant)
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = "; did you mean '%s'?" % close[0] if close else ""
            raise UserError("%s has no layer '%s'%s (there are: %s)" % (variant.name, name, hint, ", ".join(known)))
    return [known[name] for name in wanted]


def shaped(name: str, result: np.ndarray) -> np.ndarray:
    """The result as the module ``name`` has it: what is in torchvision's ``classifier`` sees a flattened map."""
    return result.reshape(len(result), -1) if name.startswith("classifier.") else result


def _around_activations(table: List[Layer]) -> Dict[str, str]:
    """``convN.pre``, ``convN.post`` and ``blob:convN`` for each layer with weights."""
    found: Dict[str, str] = {}
    weighted = ""
    for layer in table:
        if layer.param:
            weighted = layer.name
            found[weighted + ".pre"] = found["blob:" + weighted] = weighted
        elif layer.op in ACTIVATIONS:
            found[weighted + ".post"] = found["blob:" + weighted] = layer.name
    return found
