"""The logs of a run: ``steps.csv``, ``epochs.csv``, TensorBoard events, and a picture of the learning curves.

The CSV files contain no times, so that two runs can be compared byte by byte.
"""

from __future__ import annotations

import csv
import io
import os
import time
from typing import Any, Dict, List, Optional, Sequence

from .._util.files import replacing
from ..errors import UserError

STEP_COLUMNS = ("step", "epoch", "loss", "lr")
REDRAW_S = 10  # shortest interval between drawings of the curves, which take half a second
EPOCH_COLUMNS = ("epoch", "step", "lr", "train_loss", "train_error", "val_loss", "top1", "top5", "bad_images")


class Table:
    """A CSV file that is written row by row.

    :param after: column that counts the rows.
    :param last: keep the rows of an existing file up to this value of ``after``; None: start a new file.
    """

    def __init__(self, path: str, columns: Sequence[str], after: str, last: Optional[int]) -> None:
        self.path, self.columns = path, list(columns)
        rows = [row for row in read(path) if _are_numbers(row, self.columns)] if last is not None else []
        previous = [row for row in rows if last is not None and float(row[after]) <= last]
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(previous)
        with replacing(path) as stream:
            stream.write(text.getvalue().encode("utf-8"))
        self._stream = open(path, "a", encoding="utf-8", newline="")  # noqa: SIM115 (closed by close)
        self._writer = csv.DictWriter(self._stream, self.columns, lineterminator="\n")

    def add(self, row: Dict[str, Any]) -> None:
        """Write a row; floats are written with all digits (``repr``)."""
        self._writer.writerow({key: repr(value) if isinstance(value, float) else value for key, value in row.items()})
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read(path: str) -> List[Dict[str, str]]:
    """Read the rows of a CSV file written by :class:`Table`, without a last row that was cut off by a crash."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="replace", newline="") as stream:
        text = stream.read()
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(io.StringIO(whole)) if None not in row.values()]


def _are_numbers(row: Dict[str, str], columns: Sequence[str]) -> bool:
    """Whether a row is one of :class:`Table`, and not of a file that was damaged or changed."""
    try:
        return all(float(row[column]) is not None for column in columns)
    except (KeyError, TypeError, ValueError):
        return False


class Logs:
    """All logs of a run; ``enabled`` is True only in the first process."""

    def __init__(self, folder: str, enabled: bool, tensorboard: bool, step: int, epoch: int, resume: bool) -> None:
        self.folder, self.enabled, self._board = folder, enabled, None
        self._drawn, self._new = time.monotonic(), False
        if not enabled:
            return
        self.steps = Table(os.path.join(folder, "steps.csv"), STEP_COLUMNS, "step", step if resume else None)
        self.epochs = Table(os.path.join(folder, "epochs.csv"), EPOCH_COLUMNS, "epoch", epoch - 1 if resume else None)
        if tensorboard:
            self._board = _board(os.path.join(folder, "tensorboard"), step)

    def step(self, row: Dict[str, Any]) -> None:
        """Log an update; ``row`` has :data:`STEP_COLUMNS`."""
        if not self.enabled:
            return
        self.steps.add(row)
        self._scalars({"train/loss": row["loss"], "train/lr": row["lr"]}, row["step"])

    def epoch(self, row: Dict[str, Any], images_per_s: float) -> None:
        """Log an epoch; ``row`` has :data:`EPOCH_COLUMNS`."""
        if not self.enabled:
            return
        self.epochs.add(row)
        scalars = {"validation/loss": row["val_loss"], "validation/top1": row["top1"], "validation/top5": row["top5"]}
        scalars.update({"train/error": row["train_error"], "train/images_per_s": images_per_s})
        self._scalars(scalars, row["step"])
        self._new = True
        if time.monotonic() - self._drawn > REDRAW_S:
            self._draw()

    def _draw(self) -> None:
        draw(os.path.join(self.folder, "curves.png"), read(os.path.join(self.folder, "epochs.csv")))
        self._drawn, self._new = time.monotonic(), False

    def _scalars(self, values: Dict[str, float], step: int) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Draw the curves if there is a new epoch, and close all files."""
        if self.enabled:
            self.steps.close()
            self.epochs.close()
            if self._new:
                self._draw()
            if self._board is not None:
                self._board.close()


def _board(folder: str, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "TensorBoard events need the package tensorboard: pip install 'fastalex[train]', or use --no-tensorboard"
        ) from None
    return SummaryWriter(folder, purge_step=step + 1 if step else None)


def draw(path: str, rows: Sequence[Dict[str, str]]) -> None:
    """Draw the learning curves of ``epochs.csv`` as a PNG, losses and errors in percent, if matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    epochs = [int(row["epoch"]) + 1 for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, errors = figure.subplots(1, 2)
    losses.plot(epochs, [float(row["train_loss"]) for row in rows], label="training")
    losses.plot(epochs, [float(row["val_loss"]) for row in rows], label="validation")
    losses.set(xlabel="epoch", ylabel="loss")
    errors.plot(epochs, [100 * float(row["train_error"]) for row in rows], label="training, top-1")
    for name in ("top1", "top5"):
        values = [100 * (1 - float(row[name])) for row in rows]
        errors.plot(epochs, values, label=f"validation, top-{name[3:]}")
    errors.set(xlabel="epoch", ylabel="error, %", ylim=(0, None))
    for axes in (losses, errors):
        axes.legend()
        axes.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    with replacing(path) as stream:
        stream.write(picture.getvalue())
