"""fastalex: the AlexNet family, as fast as the chip allows.

>>> from fastalex import AlexNet
>>> net = AlexNet(weights="digits")
>>> net.classify("examples/digits/digit-7.png")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

from .errors import BackendError, UserError

__version__ = "0.1.0"
__all__ = [
    "LPIPS",
    "VARIANTS",
    "AlexNet",
    "BackendError",
    "DeviceArray",
    "Prediction",
    "UserError",
    "Variant",
    "__version__",
]

if TYPE_CHECKING:
    from .device_array import DeviceArray
    from .lpips import LPIPS
    from .model import AlexNet, Prediction
    from .variants import VARIANTS, Variant

_MODULES = ("extractor", "jetbot", "readout")
_HOMES = {
    "AlexNet": "model",
    "DeviceArray": "device_array",
    "LPIPS": "lpips",
    "Prediction": "model",
    "VARIANTS": "variants",
    "Variant": "variants",
}


def __getattr__(name: str) -> Any:
    """Loads a public name at its first use, so that ``import fastalex`` costs next to nothing."""
    if name not in _HOMES and name not in _MODULES:
        raise AttributeError("module 'fastalex' has no attribute '%s'" % name)
    import importlib

    if name in _MODULES:
        return importlib.import_module("." + name, __name__)
    return getattr(importlib.import_module("." + _HOMES[name], __name__), name)


def __dir__() -> List[str]:
    return sorted(set(globals()) | set(__all__))
