"""The time of each step that the engine runs, measured: the basis of the roofline and of the timeline."""

from __future__ import annotations

from typing import Any, List, NamedTuple, Tuple

import numpy as np

from .._util.arguments import positive_int
from ..errors import UserError
from .inputs import computed

MAX_BATCH = 4096
WARM_UP = 2  # runs before those that count


class Step(NamedTuple):
    """Layers that the engine computes together, and the seconds of each run."""

    layers: Tuple[str, ...]
    seconds: Tuple[float, ...]


def measure(net: Any, batch: int = 1, repeat: int = 10) -> List[Step]:
    """Measure every step on random images, the same at each call, after two runs that do not count.

    Steps that the engine runs interleaved are one step here, since their times cannot be told apart.

    :param batch: images of a run, at most 4096.
    :param repeat: runs.
    :raises UserError: for a batch or a number of runs that is not a whole number above 0, or too large.
    """
    if positive_int("batch", batch) > MAX_BATCH:
        raise UserError(f"batch must be at most {MAX_BATCH}, not {batch}")
    positive_int("repeat", repeat)
    x = images(net, batch)
    runs = [net.profile(x) for _ in range(WARM_UP + repeat)][WARM_UP:]
    return _joined(
        list(computed(net.variant)), [name for name, _ in runs[0]], [[time for _, time in run] for run in runs]
    )


def images(net: Any, batch: int) -> np.ndarray:
    """Draw the images, float32 ``[batch, C, S, S]``; the first of a batch are those of a smaller one."""
    row = net.variant
    shape = (batch, row.channels, row.input_size, row.input_size)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _joined(layers: List[str], ends: List[str], runs: List[List[float]]) -> List[Step]:
    """Divide ``layers`` into steps, whose last layers are ``ends``; one without any time belongs to the next."""
    steps: List[Step] = []
    first, waiting = 0, np.zeros(len(runs))
    for name, times in zip(ends, np.array(runs).T):
        waiting = waiting + times
        end = layers.index(name, first) + 1 if name in layers[first:] else len(layers)
        if waiting.any() or name == ends[-1]:
            steps.append(Step(tuple(layers[first:end]), tuple(float(time) for time in waiting)))
            first, waiting = end, np.zeros(len(runs))
    return steps
