"""One op case on one backend of the native engine: its result, its parameters as they are kept, its arithmetic."""

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
    """How a backend computes a case: ``half`` activations, products in one fp16 sum (0: sums in fp32), the form of
    a convolution's weights (``direct``, ``winograd 2x3``, ...), and the digits of 8 bits that a fully connected layer's
    input is cut into (0: it stays a float)."""

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
    """The output of the native engine for one batch, float32 ``[N, features]`` or ``[N, C, H, W]``.

    The net first computes a batch of NaN: a workspace that is read before it is written then shows in the result.

    :raises UserError: for a table that makes no net.
    :raises BackendError: if the backend cannot be used.
    """
    net = make_net(table, x, params, backend, storage, precision, tuning, exact)
    if backend != REFERENCE:
        output(net, np.full_like(x, np.nan))
    return output(net, x)


def output(net: _core.Net, x: np.ndarray) -> np.ndarray:
    """The output of ``net`` for one batch, float32 ``[N, C, H, W]``."""
    return net.run(_core.Call(x))[0]


def kept_params(
    case: Case, params: Params, backend: str, precision: str = "fp32", exact: bool = False
) -> List[np.ndarray]:
    """The parameters as ``backend`` keeps them in ``case.storage``, back in float32."""
    net = make_net(case.table, np.zeros(case.shape, np.float32), params, backend, case.storage, precision, exact=exact)
    return [net.param(index).reshape(param.shape) for index, param in enumerate(params)]


def arithmetic_of(
    case: Case, backend: str, precision: str = "fp32", tuning: str = "", exact: bool = False
) -> Arithmetic:
    """What ``backend`` says of the kernels that it would run for ``case``."""
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
