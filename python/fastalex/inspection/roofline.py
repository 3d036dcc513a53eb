"""The measured time of each step beside its floor: the least that arithmetic and memory of the device allow.

The floors are those of :mod:`fastalex.hardware.roofline`, which says what they leave out. For a GPU they follow from
its data in ``devices/``. A processor has no such file: its two ceilings are measured, by numpy's matrix product and by
a pass over an array, and are raised to the highest rates of the network's own steps: narrower arithmetic, and
Winograd's algorithm, which multiplies less, are faster than numpy.
"""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from .. import density
from ..errors import UserError
from ..hardware import devices
from ..hardware import roofline as model
from ..runtime import device_spec
from ..tuning import rules
from . import steps

DATA_SHEET, MEASURED = "data sheet", "measured"
_SIDE = 768  # of the matrices whose product gives the peak: 0.9 GFLOP, a few milliseconds
_VALUES = 1 << 26  # float32 values that are read for the bandwidth, 256 MiB: more than caches hold
_TRIALS_S = 0.3  # of each of the two; the fastest trial counts, since other programs may slow the others down
_LEAST_TRIALS = 3
#: The precision of :data:`fastalex.hardware.roofline.PRECISIONS` with the bytes of each of the engine's.
_SIZES = {"fp32": "fp32", "fp16": "fp16", "bf16": "fp16", "int8": "int8", "int4": "int4"}


class Ceiling(NamedTuple):
    """The peak and the bandwidth of a device, and what they are known from: :data:`DATA_SHEET` or :data:`MEASURED`."""

    card: devices.Card
    basis: str


class StepTime(NamedTuple):
    """A step: its layers, its median time, and its floor; ``floor_ms`` and ``bound`` are None if it is not known.

    * ``bound``: ``compute`` or ``memory``, whichever takes longer at its ceiling; None also for a step without weights,
      for which the floor is 0: as if it were fused into its neighbor.
    * ``flop``, ``bytes``: for the whole batch.
    """

    layers: Tuple[str, ...]
    ms: float
    floor_ms: Optional[float]
    bound: Optional[str]
    flop: float
    bytes: float


class Times(NamedTuple):
    """The steps of a batch, the name of the card, and the basis of its ceilings (:class:`Ceiling`), if it is known."""

    rows: List[StepTime]
    batch: int
    card: Optional[str]
    basis: Optional[str]
    peak_tflops: Optional[float]
    bandwidth_gb_s: Optional[float]


def card(net: Any, name: Optional[str] = None) -> Optional[Ceiling]:
    """Return the ceilings of the device that a network runs on; None for a GPU that no file describes.

    Measuring those of a processor takes about a second.

    :param name: a device of ``devices/`` and, if it has several, a card: ``"nano"``, ``"rtx30:RTX 3090"``. Default:
        the one that the network runs on.
    :raises UserError: for a name that does not exist, or does not say which card.
    """
    if name is not None:
        return Ceiling(_named(name), DATA_SHEET)
    gpu = device_spec.choose(net.device).gpu
    if gpu is None:
        return Ceiling(_measured(net.threads), MEASURED)
    found = rules.known_as(gpu).card
    return None if found is None else Ceiling(found, DATA_SHEET)


def measure(net: Any, batch: int = 1, repeat: int = 10, ceiling: Optional[Ceiling] = None) -> Times:
    """Measure the steps of a batch of random images, and compute their floors.

    At batch 1 the floor of a fully connected layer counts only the weights that meet an input other than zero. There is
    no floor for precision int8, whose convolutions the model does not know.

    :param ceiling: of the device; default: :func:`card`.
    :raises UserError: as :func:`.steps.measure` does, or if the rate of the card is not known.
    """
    measured = steps.measure(net, batch, repeat)
    ceiling = card(net) if ceiling is None else ceiling
    shares = _density(net) if batch == 1 else None
    counted = _rows(measured, _layers(net, _unit_card(), batch, shares))
    if ceiling is None or net.precision == "int8":
        rows = [row._replace(floor_ms=None, bound=None) for row in counted]
        return Times(rows, batch, None, None, None, None)
    top = _raised(ceiling.card, counted) if ceiling.basis == MEASURED else ceiling.card
    rows = _rows(measured, _layers(net, top, batch, shares))
    peak = model.math_peak_tflops(top, _SIZES[net.precision])
    return Times(rows, batch, top.name, ceiling.basis, peak, top.bandwidth_gb_s)


def _rows(measured: List[steps.Step], layers: Dict[str, model.LayerTime]) -> List[StepTime]:
    rows = []
    for step in measured:
        parts = [layers[name] for name in step.layers if name in layers]
        floor, flop, moved = (sum(getattr(part, key) for part in parts) for key in ("ms", "flop", "bytes"))
        bound = max(parts, key=lambda part: part.ms).bound if parts else None
        rows.append(StepTime(step.layers, 1e3 * float(np.median(step.seconds)), floor, bound, flop, moved))
    return rows


def _raised(top: devices.Card, rows: List[StepTime]) -> devices.Card:
    """Raise the measured ceilings of a processor to the highest rates of the steps."""
    timed = [row for row in rows if row.ms]
    clock = max([top.clock_mhz, *(row.flop / 2 / row.ms / 1e3 for row in timed)])
    bandwidth = max([top.bandwidth_gb_s, *(row.bytes / row.ms / 1e6 for row in timed)])
    return dataclasses.replace(top, clock_mhz=clock, bandwidth_gb_s=bandwidth)


def _layers(net: Any, top: devices.Card, batch: int, shares: Optional[List[float]]) -> Dict[str, model.LayerTime]:
    """Return the floors of the layers with weights; convolutions are in the network's precision, others in theirs."""
    wide = model.roofline(net.variant, top, _SIZES[net.precision], batch, shares)
    stored = model.roofline(net.variant, top, _SIZES[net.fc_weights], batch, shares)
    return {a.name: a if a.op == "conv" else b for a, b in zip(wide.layers, stored.layers)}


def _density(net: Any) -> Optional[List[float]]:
    """Return the share of the inputs of each fully connected layer that are not zero, on the image that is timed."""
    if net.engine:  # a tap costs a new TensorRT engine
        return None
    return list(density.means(density.measure(net, steps.images(net, 1))).values())


def _named(name: str) -> devices.Card:
    device_name, _, card_name = name.partition(":")
    device = devices.get(device_name)
    if card_name:
        return device.card(card_name)
    if len(device.cards) > 1:
        names = ", ".join(f"{device_name}:{card.name}" for card in device.cards)
        raise UserError(f"{device_name} is {len(device.cards)} cards; name one of {names}")
    return device.cards[0]


def _unit_card() -> devices.Card:
    """Return a card for which floating-point operations and bytes are counted, without a time."""
    return devices.Card("", "", 1, 1.0, 1.0, dict.fromkeys(devices.RATES, 1))


def _measured(threads: int) -> devices.Card:
    """Measure the ceilings of this processor, as a card of one unit that does one multiply-add a clock.

    The product uses the threads of numpy's BLAS, the pass over the array ``threads``.
    """
    square = np.ones((_SIDE, _SIDE), np.float32)
    product_s = _fastest(lambda: square @ square)
    values = np.ones(_VALUES, np.float32)
    parts = np.array_split(values, threads)
    with ThreadPoolExecutor(threads) as pool:
        read_s = _fastest(lambda: list(pool.map(lambda part: part.dot(part), parts)))
    rates = {"fp32": 1, "fp16": 1, "fp16_tensor_fp32": 1}
    return devices.Card(devices.cpu().model, "cpu", 1, _SIDE**3 / product_s / 1e6, values.nbytes / read_s / 1e9, rates)


def _fastest(work: Callable[[], Any]) -> float:
    work()  # starts threads, and brings the arrays in
    times: List[float] = []
    while len(times) < _LEAST_TRIALS or sum(times) < _TRIALS_S:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
