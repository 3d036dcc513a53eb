"""Running the native network on arrays of any library, in host memory or on the GPU."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .. import _core
from ..errors import UserError
from ..networks.architecture import Variant
from . import arrays
from .device_spec import DeviceSpec


class Frame(NamedTuple):
    """The preprocessing of one camera frame: ``spec`` of :func:`.frames.spec`, and the side of the input in pixels."""

    spec: Dict[str, Any]
    size: int


def request(
    view: arrays.ArrayView,
    softmax: bool = False,
    taps: Sequence[str] = (),
    top_k: int = 0,
    frame: Optional[Frame] = None,
) -> _core.Call:
    """Make the native call for ``view``: a float32 batch ``[N, C, H, W]``, or with ``frame`` the pixels of a frame."""
    if frame is not None:
        shape = (1, frame.size, frame.size)
        return _core.Call(view.ptr, shape, taps, softmax, top_k, frame.spec, view.on_device, view.stream)
    if view.host is not None:
        return _core.Call(np.ascontiguousarray(view.host), (), taps, softmax, top_k, None, False, view.stream)
    n, _, h, w = view.shape
    return _core.Call(view.ptr, (n, h, w), taps, softmax, top_k, None, True, view.stream)


def run(
    net: _core.Net,
    device: DeviceSpec,
    view: arrays.ArrayView,
    softmax: bool = False,
    taps: Sequence[str] = (),
    top_k: int = 0,
    out: Any = None,
    frame: Optional[Frame] = None,
) -> List[Any]:
    """Run the net on ``view`` and return its results.

    :param taps: names of layers of the engine's table whose results are wanted; default: the network's output.
    :param top_k: return only the k largest values, and their indices.
    :param out: the caller's array for the one result.
    :returns: float32 arrays of the input's library, in host memory or on the GPU like the input; with ``top_k`` two
        arrays ``[N, k]`` in host memory, float32 and int32.
    :raises UserError: if ``out`` cannot hold the result.
    """
    call = request(view, softmax, taps, top_k, frame)
    if top_k or (out is None and view.host is not None):
        results = net.run(call)
        return results if top_k or type(view.owner) is np.ndarray else [view.wrap_like(result) for result in results]
    return _run_into(net, device, view, call, out)


def _run_into(net: _core.Net, device: DeviceSpec, view: arrays.ArrayView, call: _core.Call, out: Any) -> List[Any]:
    """Run the net into new arrays on the GPU, or into ``out``."""
    targets: List[arrays.Target] = []
    output = None if out is None else arrays.output(out, device, view.stream)

    def allocate(shape: Tuple[int, ...]) -> int:
        shape = _public(shape)
        targets.append(arrays.fresh(view, shape, net, device) if output is None else output.target(shape))
        return targets[-1].ptr

    net.run(call, allocate, output is None or output.on_device)
    return [target.wrap(target.array) for target in targets]


def bind(net: _core.Net, device: DeviceSpec, view: arrays.ArrayView, softmax: bool, out: Any) -> Callable[[], None]:
    """Return a function that runs the net from ``view`` into ``out``, without checking the arrays again.

    It keeps both arrays alive.

    :raises UserError: if ``out`` cannot hold the result.
    """
    call = request(view, softmax)
    target = arrays.output(out, device, view.stream).target(_public(tuple(net.shapes(call)[0])))
    call.set_outputs([target.ptr], [target.count], target.on_device)

    def run_again(keep_alive: Any = (view, target)) -> None:
        net.run(call)

    return run_again


def check_batch(view: arrays.ArrayView, variant: Variant, any_size: bool = False) -> None:
    """Check that ``view`` is a float32 batch ``[N, C, H, W]`` for ``variant``.

    :param any_size: do not check that every layer of the network accepts this image size.
    :raises UserError: for any other array, or one on the GPU that is not C-contiguous.
    """
    shape, size = view.shape, variant.input_size
    if view.dtype != "float32" or len(shape) != 4 or shape[1] != variant.channels or shape[0] == 0:
        _refuse_layout(view.dtype, shape, variant.channels)
    if not any_size and shape[2:] != (size, size):
        variant.layers((int(view.shape[2]), int(view.shape[3])))  # raises, with the reason, if this size does not work
    if view.on_device and not view.row_major:
        raise UserError(f"the input on the GPU must be C-contiguous [N, C, H, W]; its strides are {view.strides}")


def _public(shape: Tuple[int, ...]) -> Tuple[int, ...]:
    """Return the shape of a result as callers see it: ``[N, C, H, W]``, or ``[N, C]`` for features."""
    return shape[:2] if shape[2:] == (1, 1) else shape


def _refuse_layout(dtype: str, shape: Tuple[int, ...], channels: int) -> None:
    if dtype == "uint8":
        raise UserError(
            "the input must be float32, not uint8: net.preprocess normalizes images, [N, H, W, 3] of 8 bits"
        )
    if dtype != "float32":
        raise UserError(f"the input must be float32, not {dtype}; convert it with x.astype('float32')")
    if len(shape) == 3:
        raise UserError(f"the input must be [N, {channels}, H, W]; got {shape}: add the batch axis, x[None]")
    if len(shape) != 4:
        raise UserError(f"the input must be [N, {channels}, H, W]; got {shape}")
    if shape[0] == 0:
        raise UserError("the batch is empty; give at least one image")
    if shape[3] == channels:
        raise UserError(
            f"the input {shape} looks like [N, H, W, C]; this network takes [N, C, H, W]: x.transpose(0, 3, 1, 2)"
        )
    raise UserError(f"the input must have {channels} channels, it has {shape[1]}: {shape}")
