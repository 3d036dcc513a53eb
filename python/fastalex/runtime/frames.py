"""Camera frames, which the GPU resizes, crops and normalizes in one pass over the pixels.

The pass follows the profiles of :mod:`fastalex.images`. It computes the normalization ``(v / divisor - mean) / std`` as
``v * scale - shift``.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import numpy as np

from .. import images
from ..errors import UserError
from ..images.profiles import ORDERS, Profile
from . import arrays
from .arrays import ArrayView
from .device_spec import DeviceSpec
from .execution import Frame

FILTERS = ("nearest", "linear", "antialias")  # in the order of the enum fastalex_filter


def read(
    frame: Any,
    order: str,
    profile: Profile,
    size: int,
    device: DeviceSpec,
    stream: Any,
    mean_image: Any = None,
    channels: int = 3,
) -> Tuple[ArrayView, Optional[Frame]]:
    """Return the input for one frame, and the work on it that is left to the GPU.

    :param frame: uint8 ``[H, W, 3]``, in host memory or on the GPU.
    :param order: ``RGB`` or ``BGR``.
    :param channels: those of the network, 1 or 3.
    :returns: on a GPU the pixels and their :class:`Frame`; otherwise, and for a network with a mean image or with one
        channel, a batch ``[1, channels, size, size]`` that is preprocessed on the host, and None.
    :raises UserError: if it is not a frame, or is on the GPU although the host has to preprocess it.
    """
    view = arrays.read(frame, device, stream)
    check(view, order)
    # The fast passes, of the host and of the GPU, subtract channel means from three planes.
    fast = mean_image is None and channels == 3
    if device.gpu is None and fast:
        assert view.host is not None
        return ArrayView(frame, images.prepare_frame(view.host, profile, size, order == "BGR"), view.stream), None
    if not fast:
        if view.host is None:
            why = "it has a mean image" if channels == 3 else f"its number of channels is {channels}"
            raise UserError(f"frames of this network are prepared on the host, because {why}: give a numpy frame")
        bgr = order == "BGR"
        batch = images.preprocess(view.host, profile, size, bgr=bgr, mean_image=mean_image, channels=channels)
        return ArrayView(frame, batch, view.stream), None
    if not view.on_device and not row_bytes(view):
        view = arrays.read(np.ascontiguousarray(view.host), device, stream)
    if not row_bytes(view):
        raise UserError(f"a frame's rows must have their pixels side by side; its strides are {view.strides}")
    return view, Frame(spec(view, order, profile, size), size)


def check(view: ArrayView, order: str) -> None:
    """Check that ``view`` is uint8 ``[H, W, 3]`` with at least one pixel, and ``order`` RGB or BGR.

    :raises UserError: if not.
    """
    if order not in ORDERS:
        raise UserError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    if view.dtype != "uint8":
        raise UserError(f"a frame must be uint8 with values 0 to 255, not {view.dtype}")
    if len(view.shape) != 3 or view.shape[2] != 3 or 0 in view.shape:
        raise UserError(f"a frame must be [H, W, 3] with at least one pixel, not {list(view.shape)}")


def row_bytes(view: ArrayView) -> int:
    """Return the bytes from one row to the next; 0 if the pixels of a row are not side by side."""
    height, width, _ = view.shape
    strides = view.strides or (3 * width, 3, 1)
    dense = (width == 1 or strides[1] == 3) and strides[2] == 1
    if height == 1:
        return 3 * width if dense else 0
    return strides[0] if dense and strides[0] >= 3 * width else 0


def spec(view: ArrayView, order: str, profile: Profile, size: int) -> Dict[str, Any]:
    """Describe to the native engine how the frame becomes an input of ``size`` x ``size`` pixels.

    The keys are the fields of ``fastalex_frame`` in ``csrc/include/fastalex.h``.
    """
    height, width = view.shape[:2]
    geometry = images.geometry((width, height), profile, size)
    top, left = geometry.crop
    std = np.array(profile.std, np.float64)
    return {
        "height": height,
        "width": width,
        "row_bytes": row_bytes(view),
        "filter": FILTERS.index(profile.resample),
        "resized_h": geometry.height,
        "resized_w": geometry.width,
        "crop_y": top,
        "crop_x": left,
        "swap": int(order != profile.order),
        "scale": [float(value) for value in 1 / (profile.divisor * std)],
        "shift": [float(value) for value in np.array(profile.mean, np.float64) / std],
    }
