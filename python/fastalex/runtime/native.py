"""The native net of a layer table on a device."""

from __future__ import annotations

from typing import Any, Sequence

from .. import _core
from .device_spec import DeviceSpec
from .precisions import FC_STORAGES, PRECISIONS


def make(
    table: str,
    input_shape: Sequence[int],
    params: Sequence[Any],
    device: DeviceSpec,
    precision: str = "fp32",
    fc_weights: str = "fp32",
    threads: int = 0,
    tuning: str = "",
    exact: bool = False,
) -> _core.Net:
    """A net for images of ``input_shape``, ``(C, H, W)``.

    :param table: the text of :func:`fastalex.networks.layers.layer_table`.
    :param params: weight and bias of each layer in order: float32 arrays, or quantized weights as
        :func:`fastalex._core.quantize_rows` gives them.
    :param threads: of the CPU; 0: as many as this process may run on.
    :raises UserError: for a table that makes no network, or parameters that are not its own.
    """
    return _core.Net(
        table,
        list(input_shape),
        list(params),
        device.backend,
        FC_STORAGES.index(fc_weights),
        threads,
        PRECISIONS.index(precision),
        device.index,
        tuning,
        exact,
    )
