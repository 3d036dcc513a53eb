"""Native nets, made from a layer table for a device."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from .. import _core
from .device_spec import FC_LAYOUTS, DeviceSpec
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
    fc_layout: Optional[str] = None,
) -> _core.Net:
    """Make a net for images of ``input_shape``, ``(C, H, W)``.

    :param table: the text of :func:`fastalex.networks.layers.layer_table`.
    :param params: weight and bias of each layer in order: float32 arrays, or quantized weights as
        :func:`fastalex._core.quantize_rows` returns them.
    :param threads: CPU threads; 0: all processors this process may run on.
    :param tuning: rules that choose kernels (:mod:`fastalex.tuning.rules`).
    :raises UserError: if the table is not a network, or the parameters do not fit it.
    :raises BackendError: if the backend does not work here.
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
        FC_LAYOUTS.index(fc_layout or FC_LAYOUTS[0]),
    )
