"""Op cases on a backend of the native engine: results, stored parameters, and the arithmetic of the kernels."""

from __future__ import annotations

import json
from typing import Callable, List, NamedTuple, Sequence

import numpy as np

from .. import _core
from ..runtime.precisions import PRECISIONS
from .cases import STORAGES, Case

REFERENCE = "naive"
Params = Sequence[np.ndarray]
#: Runs a layer table on a backend: ``(table, x, params, backend, storage)`` -> output.
Runner = Callable[[str, np.ndarray, Params, str, str], np.ndarray]


class Arithmetic(NamedTuple):
    """The arithmetic of a backend for a case.

    ``half``: activations are fp16. ``half_sum``: products in one fp16 sum; 0: sums are fp32. ``form``: algorithm of a
    convolution (``direct``, ``winograd 2x3``, ...). ``byte_planes``: planes of 8 bits that the input of a fully
    connected layer is split into; 0: it stays a float.
    """

    half: bool = False
    half_sum: int = 0
    form: str = "direct"
    byte_planes: int = 0


EXACT = Arithmetic()


def run_native(
    table: str,
    x: np.ndarray,
    params: Params,
    backend: str,
    storage: str = "fp32",
    precision: str = "fp32",
    tuning: str = "",
    exact: bool = False,
) -> np.ndarray:
    """Make a net and run one batch, to float32 ``[N, features]`` or ``[N, C, H, W]``.

    The net first runs a batch of NaN, so that a workspace that is read before it is written spoils the result.

    :param table: the layer table.
    :param x: float32 ``[N, C, H, W]``.
    :param storage: format of fully connected weights.
    :raises UserError: if the table is not a network.
    :raises BackendError: if the backend does not work here.
    """
    net = make_net(table, x, params, backend, storage, precision, tuning, exact)
    if backend != REFERENCE:
        output(net, np.full_like(x, np.nan))
    return output(net, x)


def output(net: _core.Net, x: np.ndarray) -> np.ndarray:
    """Run ``net`` on one batch, float32 ``[N, C, H, W]``, and return its output."""
    return net.run(_core.Call(x))[0]


def stored_params(
    case: Case, params: Params, backend: str, precision: str = "fp32", exact: bool = False
) -> List[np.ndarray]:
    """Return the parameters as ``backend`` stores them in ``case.storage``, converted back to float32."""
    net = make_net(case.table, np.zeros(case.shape, np.float32), params, backend, case.storage, precision, exact=exact)
    return [net.param(index).reshape(param.shape) for index, param in enumerate(params)]


def arithmetic_of(
    case: Case, backend: str, precision: str = "fp32", tuning: str = "", exact: bool = False
) -> Arithmetic:
    """Ask ``backend`` for the arithmetic of the kernels that it runs for ``case``."""
    x, params = case.random()
    net = make_net(case.table, x, params, backend, case.storage, precision, tuning, exact)
    step = json.loads(net.describe(_core.Call(x)))["steps"][0]
    return Arithmetic(
        precision == "fp16", step.get("half_sum", 0), step.get("format", "direct"), step.get("byte_planes", 0)
    )


def make_net(
    table: str,
    x: np.ndarray,
    params: Params,
    backend: str,
    storage: str,
    precision: str = "fp32",
    tuning: str = "",
    exact: bool = False,
) -> _core.Net:
    """Make the net of a layer table for the shape of ``x``; parameters and errors are those of :func:`run_native`."""
    return _core.Net(
        table,
        list(x.shape[1:]),
        list(params),
        backend,
        STORAGES.index(storage),
        precision=PRECISIONS.index(precision),
        tuning=tuning,
        exact=exact,
    )
