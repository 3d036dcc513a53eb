"""CUDA streams of other libraries, as plain handles: 0 is the legacy default stream, 2 the per-thread one.

The array interfaces write 1 for the legacy default stream, because 0 meant nothing yet when they were defined.
"""

from __future__ import annotations

import sys
from typing import Any

from .._util.arguments import is_int
from ..errors import UserError

LEGACY = 0
_LEGACY_IN_INTERFACES = 1  # cudaStreamLegacy


def handle(stream: Any) -> int:
    """The handle of a stream: a number, or an object of cuda-python, PyTorch, CuPy or Numba.

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
    """The number that array interfaces have for the stream."""
    return stream or _LEGACY_IN_INTERFACES


def current(x: Any) -> int:
    """The stream that the library of ``x`` works on now, which its data and its later uses are ordered with."""
    library = library_of(x)
    if library == "torch":
        return handle(sys.modules["torch"].cuda.current_stream(x.device))
    if library == "cupy":
        return handle(sys.modules["cupy"].cuda.get_current_stream())
    return handle(getattr(x, "stream", None)) if library == "fastalex" else LEGACY


def library_of(x: Any) -> str:
    """The top-level package that defines the class of ``x``."""
    return type(x).__module__.split(".")[0]


def order(later: int, earlier: int) -> None:
    """Let what comes next on stream ``later`` wait for what is on ``earlier`` now. Needs cuda-python if they differ.

    :raises UserError: if they differ and cuda-python is not installed or fails.
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
        runtime.cudaEventDestroy(event)  # it goes when what waits for it has happened


def _checked(runtime: Any, answer: Any) -> Any:
    """The result of a call of cuda-python, which answers (error, result...)."""
    if int(answer[0]) != 0:
        reason = runtime.cudaGetErrorString(answer[0])[1]
        raise UserError(f"CUDA streams cannot be ordered: {reason.decode() if reason else answer[0]}")
    return answer[1] if len(answer) > 1 else None
