"""Running the native network on arrays of any library, in host memory or on the GPU."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np

from .. import _core
from ..errors import UserError
from ..networks.architecture import Variant
from . import arrays
from .device_spec import DeviceSpec


def run(
    net: _core.Net,
    placement: DeviceSpec,
    given: arrays.Given,
    softmax: bool = False,
    taps: Sequence[str] = (),
    out: Any = None,
) -> List[Any]:
    """The result, or one for each of ``taps``, as arrays of the library that ``given`` came from.

    Results are where the input is, or in ``out``.
    """
    if not given.on_device and out is None:
        x = np.ascontiguousarray(given.host)
        found = net.taps(x, list(taps), softmax) if taps else [net.run(x, softmax)]
        return [given.like(result) for result in found]
    return bind(net, placement, given, softmax, taps, out)()


def bind(
    net: _core.Net,
    placement: DeviceSpec,
    given: arrays.Given,
    softmax: bool = False,
    taps: Sequence[str] = (),
    out: Any = None,
) -> Callable[[], List[Any]]:
    """:func:`run` on these arrays, as a call that checks nothing again. It keeps them alive."""
    x = None if given.on_device else np.ascontiguousarray(given.host)
    n, _, h, w = given.shape
    targets = _targets(net, placement, given, net.output_shapes(n, h, w, list(taps), softmax), out)
    arguments = (
        given.ptr if x is None else x.ctypes.data,
        (n, h, w),
        [target.ptr for target in targets],
        [target.count for target in targets],
        list(taps),
        given.stream,
        softmax,
        given.on_device,
        targets[0].on_device,
    )

    def call(kept: Any = (x, given)) -> List[Any]:
        net.run_device(*arguments)
        return [target.given(target.array) for target in targets]

    return call


def run_frame(
    net: _core.Net,
    placement: DeviceSpec,
    given: arrays.Given,
    spec: Any,
    size: int,
    softmax: bool = False,
    out: Any = None,
) -> Any:
    """The result for one frame of 8-bit pixels, where the frame is, or in ``out``."""
    shapes = net.output_shapes(1, size, size, [], softmax)
    if given.on_device or out is not None:
        (target,) = _targets(net, placement, given, shapes, out)
    else:
        values = np.empty(_public(shapes[0]), np.float32)
        target = arrays.Target(values, values.ctypes.data, values.size, False, given.like)
    net.run_frame(
        given.ptr,
        given.on_device,
        spec,
        (size, size),
        [target.ptr],
        [target.count],
        [],
        given.stream,
        softmax,
        target.on_device,
    )
    return target.given(target.array)


def top_k(
    net: _core.Net, given: arrays.Given, k: int, frame: Optional[Tuple[Any, int]] = None
) -> Tuple[np.ndarray, np.ndarray]:
    """The ``k`` largest probabilities of each image and their classes, ``[N, k]``, in host memory.

    :param given: a batch; or one frame of 8-bit pixels, and ``frame``, its spec and the side of the network's input.
    """
    count = 1 if frame else given.shape[0]
    values, indices = np.empty((count, k), np.float32), np.empty((count, k), np.int32)
    options = {"stream": given.stream, "softmax": True, "outputs_on_device": False}
    options.update(output_ptrs=[values.ctypes.data], output_counts=[values.size])
    options.update(top_k=k, indices_ptr=indices.ctypes.data)
    if frame:
        spec, size = frame
        net.run_frame(given.ptr, given.on_device, spec, (size, size), **options)
    else:
        x = None if given.on_device else np.ascontiguousarray(given.host)
        shape = (count, given.shape[2], given.shape[3])
        ptr = given.ptr if x is None else x.ctypes.data
        net.run_device(ptr, shape, input_on_device=given.on_device, **options)
    return values, indices


def check_batch(given: arrays.Given, variant: Variant, any_size: bool = False) -> None:
    """:raises UserError: for an array that is no batch of images for ``variant``.

    ``any_size``: the network need not run to its end.
    """
    _check_layout(given.dtype, given.shape, variant.channels)
    if not any_size and given.shape[2:] != (variant.input_size, variant.input_size):
        variant.layers((int(given.shape[2]), int(given.shape[3])))  # raises with the reason where it does not work
    if given.on_device and not given.row_major:
        raise UserError("the input on the GPU must be C-contiguous [N, C, H, W]; its strides are %s" % (given.strides,))


def _targets(
    net: _core.Net, placement: DeviceSpec, given: arrays.Given, shapes: Sequence[Tuple[int, ...]], out: Optional[Any]
) -> List[arrays.Target]:
    public = [_public(shape) for shape in shapes]
    if out is not None:
        return [arrays.output(out, public[0], placement, given.stream)]
    return [arrays.fresh(given, shape, net, placement) for shape in public]


def _public(shape: Tuple[int, ...]) -> Tuple[int, ...]:
    """``[N, C, H, W]``; ``[N, C]`` for features."""
    return tuple(shape[:2]) if tuple(shape[2:]) == (1, 1) else tuple(shape)


def _check_layout(dtype: str, shape: Tuple[int, ...], channels: int) -> None:
    if dtype != "float32":
        raise UserError("the input must be float32, not %s; convert it with x.astype('float32')" % dtype)
    if len(shape) == 3:
        raise UserError("the input must be [N, %d, H, W]; got %s: add the batch axis, x[None]" % (channels, shape))
    if len(shape) != 4:
        raise UserError("the input must be [N, %d, H, W]; got %s" % (channels, shape))
    if shape[0] == 0:
        raise UserError("the batch is empty; give at least one image")
    if shape[1] != channels:
        if shape[3] == channels:
            raise UserError(
                "the input %s looks like [N, H, W, C]; this network takes [N, C, H, W]: x.transpose(0, 3, 1, 2)"
                % (shape,)
            )
        raise UserError("the input must have %d channels, it has %d: %s" % (channels, shape[1], shape))
