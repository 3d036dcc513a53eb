"""CUDA streams of other libraries, as integer handles: 0 is the legacy default stream, 2 the per-thread one.

The array interfaces call the legacy default stream 1: they leave 0 out because it is ambiguous.
"""

from __future__ import annotations

import sys
from typing import Any

from .._util.arguments import is_int
from ..errors import UserError

LEGACY = 0
_LEGACY_IN_INTERFACES = 1  # cudaStreamLegacy


def handle(stream: Any) -> int:
    """Return the handle of a stream.

    :param stream: a number, a stream of cuda-python, PyTorch, CuPy or Numba, or None, the legacy default stream.
    :raises UserError: for anything else.
    """
    if stream is None:
        return LEGACY
    value = stream
    if hasattr(stream, "__cuda_stream__"):  # the protocol of cuda.core: (version, handle)
        protocol = stream.__cuda_stream__
        value = (protocol() if callable(protocol) else protocol)[1]
    else:
        for attribute in ("cuda_stream", "ptr", "handle"):  # PyTorch, CuPy, Numba
            if hasattr(stream, attribute):
                value = getattr(stream, attribute)
                break
    value = getattr(value, "value", value)  # a ctypes pointer
    value = LEGACY if value is None else value
    if not is_int(value) or value < 0:
        raise UserError(f"stream must be a CUDA stream or the number of one, not {stream!r}")
    return LEGACY if value == _LEGACY_IN_INTERFACES else value


def for_interface(stream: int) -> int:
    """Return the number that the array interfaces use for the stream of this handle."""
    return stream or _LEGACY_IN_INTERFACES


def current(x: Any) -> int:
    """Return the current stream of the library of ``x``: the one that computes ``x`` and will use the results."""
    library = library_of(x)
    if library == "torch":
        return handle(sys.modules["torch"].cuda.current_stream(x.device))
    if library == "cupy":
        return handle(sys.modules["cupy"].cuda.get_current_stream())
    return handle(getattr(x, "stream", None)) if library == "fastalex" else LEGACY


def library_of(x: Any) -> str:
    """Return the name of the top-level package that defines the class of ``x``."""
    return type(x).__module__.split(".")[0]


def order(later: int, earlier: int) -> None:
    """Make future work on stream ``later`` wait for the work that is queued on ``earlier`` now.

    :raises UserError: if the two differ and cuda-python, which this takes, is not installed or fails.
    """
    if later == earlier:
        return
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise UserError(
            "the array belongs to CUDA stream %d and the call to stream %d; pass stream=%d, or install cuda-python"
            % (for_interface(earlier), for_interface(later), for_interface(earlier))
        ) from None
    event = _checked(runtime, runtime.cudaEventCreateWithFlags(runtime.cudaEventDisableTiming))
    try:
        _checked(runtime, runtime.cudaEventRecord(event, earlier))
        _checked(runtime, runtime.cudaStreamWaitEvent(later, event, 0))
    finally:
        runtime.cudaEventDestroy(event)  # CUDA frees it once the wait is over


def _checked(runtime: Any, answer: Any) -> Any:
    """Return the result of a call of cuda-python, whose answer is (error, result)."""
    if int(answer[0]) != 0:
        reason = runtime.cudaGetErrorString(answer[0])[1]
        raise UserError(f"CUDA streams cannot be ordered: {reason.decode() if reason else answer[0]}")
    return answer[1] if len(answer) > 1 else None
