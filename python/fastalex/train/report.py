"""The lines that a training run prints."""

from __future__ import annotations

from typing import Any, Mapping

from .._util import console


def epoch(number: int, epochs: int, row: Mapping[str, Any], rate: float, left: float) -> None:
    """Print one line about epoch ``number`` of ``epochs``, which has ended.

    :param row: its figures, as they are logged.
    :param rate: images per second.
    :param left: seconds to the end of the run.
    """
    console.write(
        "epoch %3d of %d  loss %.4f  training error %6.2f%%  top-1 %6.2f%%  top-5 %6.2f%%  %.0f images/s  %s left"
        % (
            number,
            epochs,
            row["train_loss"],
            100 * row["train_error"],
            100 * row["top1"],
            100 * row["top5"],
            rate,
            clock(left),
        )
    )


def clock(seconds: float) -> str:
    """``h:mm:ss``."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
