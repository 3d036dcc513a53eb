"""The lines printed by a training run."""

from __future__ import annotations

from typing import Any, Mapping

from .._util import console


def epoch(number: int, epochs: int, row: Mapping[str, Any], rate: float, left: float) -> None:
    """Print one line about epoch ``number`` of ``epochs``, which has ended.

    :param row: its row in ``epochs.csv``.
    :param rate: images per second.
    :param left: seconds to the end of the run.
    """
    console.write(
        f"epoch {number:3d} of {epochs}  loss {row['train_loss']:.4f}  "
        f"training error {100 * row['train_error']:6.2f}%  top-1 {100 * row['top1']:6.2f}%  "
        f"top-5 {100 * row['top5']:6.2f}%  {rate:.0f} images/s  {clock(left)} left"
    )


def clock(seconds: float) -> str:
    """Format ``seconds`` as ``h:mm:ss``."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
