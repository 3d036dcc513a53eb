"""fastalex: the AlexNet family of image classifiers on an inference engine of its own.

>>> from fastalex import AlexNet
>>> net = AlexNet(weights="digits")
>>> net.classify("examples/digits/digit-7-sample-0007.png")[0].label
'7'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List

from ._util import lazy
from ._version import __version__
from .errors import BackendError, UserError

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
    from .lpips import LPIPS
    from .model import AlexNet, Prediction
    from .networks.architecture import Variant
    from .networks.variants import VARIANTS
    from .runtime.device_array import DeviceArray

_HOMES = {
    "AlexNet": "model",
    "DeviceArray": "runtime.device_array",
    "LPIPS": "lpips",
    "Prediction": "model",
    "VARIANTS": "networks.variants",
    "Variant": "networks.architecture",
    "extractor": "extractor",
    "images": "images",
    "jetbot": "jetbot",
    "quantize": "quantize",
    "readout": "readout",
}

__getattr__ = lazy.attributes(__name__, _HOMES)


def __dir__() -> List[str]:
    return sorted(set(globals()) | set(__all__))
