"""Reading and checking the images that callers pass, from numpy or PyTorch."""

from __future__ import annotations

import sys
import warnings
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from ..errors import UserError
from ..runtime import cuda_streams

RANGE_CHECK_MODES = ("warn", "raise", "off")
# Tolerance of the range check: resampling may overshoot the range of its input, a cubic filter by about a tenth.
SLACK = 0.1


def is_tensor(x: Any) -> bool:
    """Return whether ``x`` is a PyTorch tensor, without importing PyTorch."""
    return cuda_streams.library_of(x) == "torch" or _is_subclass_of_tensor(x)


def _is_subclass_of_tensor(x: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def on_gpu(x: Any) -> bool:
    """Return whether ``x`` is a tensor that is not in host memory."""
    return is_tensor(x) and x.device.type != "cpu"


def check_shape(shape: Sequence[int], what: str) -> None:
    """Check that ``shape`` is that of a batch of images, which error messages call ``what``.

    :raises UserError: if it is not.
    """
    shape = tuple(int(side) for side in shape)
    if len(shape) == 4 and shape[0] and shape[1] in (1, 3):
        return
    if len(shape) == 4 and not shape[0]:
        raise UserError(f"{what} are an empty batch; pass at least one image")
    if len(shape) in (3, 4) and shape[-1] in (1, 3):
        order = "0, 3, 1, 2" if len(shape) == 4 else "2, 0, 1"
        raise UserError(f"{what} {shape} look like [..., H, W, C]; pass [N, 3, H, W]: transpose({order})")
    raise UserError(f"{what} must be [N, 3, H, W] or [3, H, W], not {shape}")


def read(x: Any, what: str) -> np.ndarray:
    """Read images as a numpy array ``[N, 3 or 1, H, W]``, float32 or uint8, without a copy if possible.

    :param what: name of the images in error messages.
    :raises UserError: for images of the wrong type or shape, or on a GPU.
    """
    if is_tensor(x):
        tensor = x.detach()
        if tensor.device.type != "cpu":
            raise UserError(f"{what} are on {tensor.device}, but this metric is on the CPU; use LPIPS(device='cuda')")
        if tensor.dtype.is_floating_point:
            tensor = tensor.float()
        array = tensor.contiguous().numpy()
    elif isinstance(x, np.ndarray):
        array = x
    else:
        raise UserError(f"{what} must be a numpy array or a PyTorch tensor, not {type(x).__name__}")
    if array.dtype.kind not in "f" and array.dtype != np.uint8:
        raise UserError(f"{what} must hold floating-point numbers or uint8, not {array.dtype}")
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array[None]
    check_shape(array.shape, what)
    return array if array.dtype == np.uint8 else np.asarray(array, np.float32)


def extremes(arrays: Sequence[np.ndarray]) -> Optional[Tuple[float, float]]:
    """Return (smallest, largest) value of the arrays that are not uint8; None if there are none."""
    floats = [array for array in arrays if array.dtype != np.uint8 and array.size]
    if not floats:
        return None
    return min(float(array.min()) for array in floats), max(float(array.max()) for array in floats)


def complaint(low: float, high: float, unit_range: bool) -> str:
    """Describe what is wrong with images that range from ``low`` to ``high``, and what to do; "" if nothing is."""
    actual = f"the images range from {low:.4g} to {high:.4g}"
    smallest = 0.0 if unit_range else -1.0
    if high > 2 and low >= -SLACK:
        return f"{actual}: divide them by 255 and pass normalize=True, or pass uint8"
    if unit_range and low < -SLACK:
        return f"{actual}, but normalize=True is for [0, 1]: leave it out if they are in [-1, 1]"
    if low < smallest - SLACK or high > 1 + SLACK:
        return f"{actual}, but LPIPS expects [{smallest:g}, 1]: rescale them"
    if not unit_range and low >= 0 and high > low:
        return f"{actual}, which looks like [0, 1], but LPIPS expects [-1, 1]: pass normalize=True"
    return ""


def guard(extremes: Optional[Tuple[float, float]], unit_range: bool, mode: str) -> None:
    """Warn about images in the wrong range, or refuse them. A NaN passes, and makes the distance NaN.

    :param extremes: the smallest and largest value, or None for uint8 images.
    :param mode: one of :data:`RANGE_CHECK_MODES`.
    :raises UserError: if ``mode`` is "raise" and the range is wrong.
    """
    if mode == "off" or extremes is None or any(value != value for value in extremes):
        return
    text = complaint(*extremes, unit_range)
    if text and mode == "raise":
        raise UserError(text)
    if text:
        warnings.warn(text, stacklevel=callers_level())


def callers_level() -> int:
    """Return the ``stacklevel``, as seen from this function's caller, of the first frame outside the libraries."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in ("fastalex", "torch", "torchmetrics"):
        level, frame = level + 1, frame.f_back
    return level


def wrap_like(result: Any, sources: Sequence[Any]) -> Any:
    """Convert a numpy ``result`` to a tensor if any of ``sources`` is one."""
    if any(is_tensor(source) for source in sources):
        return sys.modules["torch"].from_numpy(np.asarray(result, order="C"))
    return result


def different_sizes(first: Sequence[int], second: Sequence[int]) -> str:
    """Return the error message for images of two sizes, each (height, width)."""
    return (
        f"the first images are {first[0]} x {first[1]} and the second {second[0]} x {second[1]}; "
        "pass images of the same size"
    )


def bilinear(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize ``maps`` ``[N, h, w]`` to ``[N, height, width]``, keeping the centers of the pixels.

    The result is that of ``torch.nn.Upsample(mode="bilinear", align_corners=False)``, which lpips/lpips.py uses.
    """
    rows, columns = _weights(maps.shape[1], height), _weights(maps.shape[2], width)
    resized: np.ndarray = np.matmul(np.matmul(rows, maps), columns.T)
    return resized


def _weights(source: int, target: int) -> np.ndarray:
    """Return the weight of each source pixel in each target pixel, float32 ``[target, source]``."""
    positions = np.maximum((np.arange(target) + 0.5) * (source / target) - 0.5, 0)
    first = np.minimum(positions.astype(np.int64), source - 1)
    second = np.minimum(first + 1, source - 1)
    fraction = (positions - first).astype(np.float32)
    weights = np.zeros((target, source), np.float32)
    index: List[int] = list(range(target))
    np.add.at(weights, (index, first), 1 - fraction)
    np.add.at(weights, (index, second), fraction)
    return weights
