"""The original packages, unchanged: those for LPIPS with supplied convolutions instead of downloaded ones.

They take AlexNet from torchvision. Where that is not installed, a stand-in module gives them the family's reference.
Of thingsvision the extractor alone is run, without the packages that its other parts need.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
import typing
from pathlib import Path

import numpy as np
import torch

from fastalex.networks import torch_reference

# Modules of ``features`` by index.
FEATURES = 13
STAND_IN = "0"  # version reported by the stand-in


def installed(name):
    return importlib.util.find_spec(name) is not None


WHOLE = {"widths": (64, 192, 384, 256, 256, 4096, 4096), "num_classes": 1000}
CONVOLUTIONS = {"widths": (64, 192, 384, 256, 256, 1, 1), "num_classes": 1}  # quick to make


def _features(sizes=CONVOLUTIONS):
    found = torch_reference.build("torchvision", **sizes)
    folder = found.get_submodule("features")
    return torch.nn.Sequential(*(folder.get_submodule(str(i)) for i in range(FEATURES)))


class _Absent(type):
    """Placeholder for other classes of torchvision: it can be named and subclassed."""

    def __getattr__(cls, name):
        return _absent(name)


def _absent(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _Absent(name, (torch.nn.Module,), {})


def _stand_in(sizes):
    """A torchvision module with an AlexNet of ``sizes`` and placeholders for the rest."""
    package, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    models.alexnet = lambda *_, **__: types.SimpleNamespace(features=_features(sizes))
    package.models, package.__version__ = models, STAND_IN
    for module in (package, models):
        module.__getattr__ = _absent
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        sys.modules[module.__name__] = module


def _torchvision(sizes=CONVOLUTIONS):
    if "torchvision" not in sys.modules and not installed("torchvision"):
        _stand_in(sizes)


def forget():
    """Remove the stand-in again, since other code checks for torchvision."""
    if getattr(sys.modules.get("torchvision"), "__version__", "") == STAND_IN:
        del sys.modules["torchvision"], sys.modules["torchvision.models"]


def _load_slices(net, arrays):
    """``arrays`` (``features.0.weight``, ...) into the five slices of lpips' and torchmetrics' trunk."""
    state = {}
    for name in net.state_dict():  # slice2.3.weight
        state[name] = torch.from_numpy(np.array(arrays["features." + name.split(".", 1)[1]]))
    net.load_state_dict(state)


def lpips_package(sizes=CONVOLUTIONS):
    _torchvision(sizes)
    import lpips as package

    return package


def lpips(arrays, version="0.1", **options):
    """``lpips.LPIPS`` of the package, with its own heads."""
    metric = lpips_package().LPIPS(net="alex", version=version, pnet_rand=True, verbose=False, **options)
    _load_slices(metric.net, arrays)
    return metric


def torchmetrics(arrays, **options):
    """torchmetrics' metric; its ``net`` computes the distance."""
    _torchvision()
    from torchmetrics.functional.image import lpips as module
    from torchmetrics.image import lpip

    module._TORCHVISION_AVAILABLE = lpip._TORCHVISION_AVAILABLE = True
    metric = lpip.LearnedPerceptualImagePatchSimilarity(net_type="alex", **options)
    _load_slices(metric.net.net, arrays)
    return metric


def thingsvision_extractor(model, **options):
    """thingsvision's extractor of a PyTorch ``model``: thingsvision/core/extraction/torch.py, without TensorFlow.

    Its module imports the extractor's own alignment and torchvision's transforms, which nothing here calls, and
    torchtyping for annotations: placeholders stand in for the three while it is imported.
    """
    folder = Path(importlib.util.find_spec("thingsvision").origin).parent / "core" / "extraction"
    names = ("torchtyping", "torchvision", "thingsvision", "thingsvision.utils", "thingsvision.utils.alignment")
    placeholders = {name: types.ModuleType(name) for name in (*names, "thingsvision_extraction")}
    placeholders["torchtyping"].TensorType = typing.Tuple  # subscripted with names
    placeholders["torchvision"].transforms = placeholders["thingsvision.utils.alignment"].gLocal = None
    placeholders["thingsvision_extraction"].__path__ = [str(folder)]
    before = {name: sys.modules.get(name) for name in placeholders}
    sys.modules.update(placeholders)
    try:
        module = importlib.import_module("thingsvision_extraction.torch")
    finally:
        for name, value in before.items():
            sys.modules.pop(name)
            if value is not None:
                sys.modules[name] = value
    return module.PyTorchExtractor("custom", True, "cpu", model=model, **options)


def piq(arrays, heads):
    """piq's ContentLoss over AlexNet, the counterpart of its LPIPS over VGG16."""
    _torchvision()
    from piq.perceptual import ContentLoss

    trunk = _features()
    trunk.load_state_dict({name[len("features.") :]: torch.from_numpy(np.array(a)) for name, a in arrays.items()})
    weights = [torch.from_numpy(head).reshape(1, -1, 1, 1) for head in heads]
    layers = ["1", "4", "7", "9", "11"]
    return ContentLoss(trunk, layers, weights, normalize_features=True, reduction="none")
