"""Names of the layers that can be read out: fastalex's own, and those that other tools use.

Each layer has a name of its own, so the results before and after an activation have different names: ``conv5`` is the
convolution's result and ``relu5`` the activation's; likewise ``fc7`` and ``relu7``. (Caffe computes its ReLU in place,
so its *blob* ``conv5`` is called ``relu5`` here: write ``blob:conv5`` for Caffe's meaning.)

Also accepted:

* ``conv5.pre`` and ``conv5.post``: before and after the activation, whatever lies between them (a pool in
  ``alexnet2012-original``).
* torchvision's module names, ``features.10``, ``avgpool``, ``classifier.4``, for the ``torchvision`` variant. These
  are also the names of thingsvision and Net2Brain, and of Brain-Score's ``LAYERS`` (``features.2`` to
  ``classifier.5``), which :data:`TOOLS` lists. ``features`` and ``classifier`` are the results of the last module in
  each. A name stands for the module's own result, as a hook that clones it would see, although torchvision's ReLU
  then works on it in place; :meth:`Tool.reads` has the names of what a hook without a clone sees.
* ``prob``: the softmax, or the sigmoid of a network that ends in one. ``logits``: the last fully connected layer.
"""

from __future__ import annotations

import difflib
import functools
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from ..errors import UserError
from . import activations
from .architecture import PROBABILITY, Variant, module_paths
from .layers import Layer


class Tool(NamedTuple):
    """The layers of torchvision's AlexNet that a tool reads out, and the preprocessing profile that it uses.

    :ivar in_place: the tool keeps a module's tensor without a copy until the network has run. torchvision's ReLU has
        then worked on the tensor in place, so that ``features.0`` has the values of ``features.1``.
    """

    layers: Tuple[str, ...]
    profile: str
    in_place: bool = False

    def reads(self, variant: Variant, layers: Sequence[str]) -> Dict[str, str]:
        """Return, for each of ``layers``, the name of the layer whose result the tool stores for it.

        These are the same, unless the tool works :attr:`in_place` and a ReLU follows.
        """
        changed = _before_relus(variant) if self.in_place else {}
        return {name: changed.get(name, name) for name in layers}


#: The tools by name. Sources:
#:
#: * brain-score: github.com/brain-score/vision, ``brainscore_vision/models/alexnet/model.py`` (``LAYERS``).
#: * brain-score-convs: ``alexnet_7be5be79_convs`` of the same project, before the ReLUs.
#: * thingsvision: github.com/ViCCo-Group/thingsvision, the modules of its README and its tests.
#: * net2brain: github.com/cvai-roig-lab/Net2Brain, ``net2brain/architectures/configs/pytorch.json`` (``AlexNet``).
#:   ``extraction_function`` (``net2brain/architectures/pytorch_models.py``, lines 73 to 76) uses the package
#:   torchextractor, whose hook keeps the output itself (``torchextractor/extractor.py``, line 37 of version 0.3.0);
#:   ``extract`` (``net2brain/feature_extraction.py``, line 252) detaches it after the network has run.
TOOLS: Dict[str, Tool] = {
    "brain-score": Tool(
        ("features.2", "features.5", "features.7", "features.9", "features.12", "classifier.2", "classifier.5"),
        "brainscore",
    ),
    "brain-score-convs": Tool(
        ("features.3", "features.6", "features.8", "features.10", "classifier.1", "classifier.4"), "brainscore"
    ),
    "thingsvision": Tool(("features.10", "classifier.4"), "thingsvision"),
    "net2brain": Tool(
        ("features.0", "features.3", "features.6", "features.8", "features.10"), "net2brain", in_place=True
    ),
}

SOFTMAX = "softmax"  # the engine's name for the softmax that it appends to a network


def names(variant: Variant) -> Dict[str, str]:
    """Return every accepted name with the layer of the engine's table whose result it stands for."""
    return dict(_names(variant))


@functools.lru_cache(maxsize=16)
def _names(variant: Variant) -> Mapping[str, str]:
    table = variant.layers()
    known: Dict[str, str] = {}
    source = ""  # the layer whose result the next one reads; a dropout passes its input on
    for layer in table:
        source = source if layer.op == "dropout" else layer.name
        known[layer.name] = source
    known.update(_around_activations(table))
    for path, layer in module_paths(variant):
        known[path] = known[layer.name]
        block = path.split(".")[0]
        if block != path:  # torchvision's features and classifier have the result of their last module
            known[block] = known[layer.name]
    known["logits"] = [layer.name for layer in table if layer.op == "fc"][-1]
    known.setdefault(PROBABILITY, SOFTMAX)  # a network that ends in probabilities has a layer of that name
    return known


def resolve(variant: Variant, taps: List[str]) -> List[str]:
    """Return the engine's layer for each name in ``taps``.

    :raises UserError: for a name that this network does not have.
    """
    known = _names(variant)
    for name in taps:
        if not isinstance(name, str) or name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise UserError(f"{variant.name} has no layer '{name}'{hint} (there are: {', '.join(known)})")
    return [known[name] for name in taps]


def shaped(name: str, result: np.ndarray) -> np.ndarray:
    """Return ``result`` ``[N, ...]`` in the shape of the module ``name``: ``[N, features]`` in a ``classifier``."""
    return result.reshape(len(result), -1) if name.split(".")[0] == "classifier" else result


def _before_relus(variant: Variant) -> Dict[str, str]:
    """Return torchvision's names of the modules that a ReLU follows, each with the name of that ReLU."""
    if variant.naming == "caffe":
        return {}
    paths = module_paths(variant)
    return {path: after for (path, _), (after, layer) in zip(paths, paths[1:]) if layer.op == "relu"}


def _around_activations(table: List[Layer]) -> Dict[str, str]:
    """Return the layers of ``convN.pre``, ``convN.post`` and ``blob:convN``, for each layer with weights."""
    layers: Dict[str, str] = {}
    weighted = ""
    for layer in table:
        if layer.param:
            weighted = layer.name
            layers[weighted + ".pre"] = layers["blob:" + weighted] = weighted
        elif layer.op in activations.OPS and layer.name != PROBABILITY:
            layers[weighted + ".post"] = layers["blob:" + weighted] = layer.name
    return layers
