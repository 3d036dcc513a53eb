"""What callers give: images of numpy or PyTorch, checked, in the range that the network was made for."""

from __future__ import annotations

import sys
import warnings
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from ..errors import UserError
from ..runtime import cuda_streams

RANGE_CHECK_MODES = ("warn", "raise", "off")
# Resampling overshoots the range of its input, a cubic by about a tenth; that is no mistake.
SLACK = 0.1


def is_tensor(x: Any) -> bool:
    """Whether ``x`` is a tensor of PyTorch, which is not imported for the question."""
    return cuda_streams.library_of(x) == "torch" or _is_subclass_of_tensor(x)


def _is_subclass_of_tensor(x: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def on_gpu(x: Any) -> bool:
    """Whether ``x`` is a tensor that is not in host memory."""
    return is_tensor(x) and x.device.type != "cpu"


def check_shape(shape: Sequence[int], what: str) -> None:
    """:raises UserError: for what is no batch of images."""
    shape = tuple(int(side) for side in shape)
    if len(shape) == 4 and shape[0] and shape[1] in (1, 3):
        return
    if len(shape) == 4 and not shape[0]:
        raise UserError(f"{what} are an empty batch; give at least one image")
    if len(shape) in (3, 4) and shape[-1] in (1, 3):
        order = "0, 3, 1, 2" if len(shape) == 4 else "2, 0, 1"
        raise UserError(f"{what} {shape} look like [..., H, W, C]; give [N, 3, H, W]: transpose({order})")
    raise UserError(f"{what} must be [N, 3, H, W] or [3, H, W], not {shape}")


def read(x: Any, what: str) -> np.ndarray:
    """Images in host memory as ``[N, 3 or 1, H, W]``, float32 or uint8, without a copy where they are that already.

    :raises UserError: for another type, shape or place.
    """
    if is_tensor(x):
        tensor = x.detach()
        if tensor.device.type != "cpu":
            raise UserError(f"{what} are on {tensor.device} and this metric on the CPU; use LPIPS(device='cuda')")
        if tensor.dtype.is_floating_point:
            tensor = tensor.float()
        array = tensor.contiguous().numpy()
    elif isinstance(x, np.ndarray):
        array = x
    else:
        raise UserError(f"{what} must be a numpy array or a tensor of PyTorch, not {type(x).__name__}")
    if array.dtype.kind not in "f" and array.dtype != np.uint8:
        raise UserError(f"{what} must hold floating-point numbers or uint8, not {array.dtype}")
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array[None]
    check_shape(array.shape, what)
    return array if array.dtype == np.uint8 else np.asarray(array, np.float32)


def extremes(arrays: Sequence[np.ndarray]) -> Optional[Tuple[float, float]]:
    """(least, largest) of the arrays that are not uint8; None if there are none."""
    floats = [array for array in arrays if array.dtype != np.uint8 and array.size]
    if not floats:
        return None
    return min(float(array.min()) for array in floats), max(float(array.max()) for array in floats)


def complaint(low: float, high: float, unit_range: bool) -> str:
    """What is wrong with images from ``low`` to ``high``, and what to do; empty if nothing is."""
    found = f"the images range from {low:.4g} to {high:.4g}"
    least = 0.0 if unit_range else -1.0
    if high > 2 and low >= -SLACK:
        return f"{found}: divide them by 255 and pass normalize=True, or give uint8"
    if unit_range and low < -SLACK:
        return f"{found}, but normalize=True is for [0, 1]: leave it out if they are in [-1, 1]"
    if low < least - SLACK or high > 1 + SLACK:
        return f"{found}, but LPIPS is made for [{least:g}, 1]: rescale them"
    if not unit_range and low >= 0 and high > low:
        return f"{found}, which looks like [0, 1], but LPIPS expects [-1, 1]: pass normalize=True"
    return ""


def guard(found: Optional[Tuple[float, float]], unit_range: bool, mode: str) -> None:
    """Warn of, or refuse, images of another range. A NaN is let through; the distance becomes one.

    :raises UserError: if ``mode`` says so.
    """
    if mode == "off" or found is None or found[0] != found[0] or found[1] != found[1]:
        return
    text = complaint(*found, unit_range)
    if text and mode == "raise":
        raise UserError(text)
    if text:
        warnings.warn(text, stacklevel=_callers_level())


def _callers_level() -> int:
    """``stacklevel`` of the first frame that is neither in this package nor in PyTorch, seen from :func:`guard`."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in ("fastalex", "torch"):
        level, frame = level + 1, frame.f_back
    return level


def like(result: Any, givens: Sequence[Any]) -> Any:
    """A numpy result as a tensor, if any of ``givens`` is one."""
    if any(is_tensor(given) for given in givens):
        return sys.modules["torch"].from_numpy(np.asarray(result, order="C"))
    return result


def bilinear(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """``[N, h, w]`` resized to ``[N, height, width]`` with the pixels' centers kept, as ``torch.nn.Upsample(
    mode="bilinear", align_corners=False)`` does, which lpips/lpips.py uses."""
    rows, columns = _weights(maps.shape[1], height), _weights(maps.shape[2], width)
    return np.matmul(np.matmul(rows, maps), columns.T)


def _weights(source: int, target: int) -> np.ndarray:
    """``[target, source]``: how much of each source pixel is in a target pixel."""
    places = np.maximum((np.arange(target) + 0.5) * (source / target) - 0.5, 0)
    first = np.minimum(places.astype(np.int64), source - 1)
    second = np.minimum(first + 1, source - 1)
    share = (places - first).astype(np.float32)
    weights = np.zeros((target, source), np.float32)
    index: List[int] = list(range(target))
    np.add.at(weights, (index, first), 1 - share)
    np.add.at(weights, (index, second), share)
    return weights
