"""What a run says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict

from .. import console

if TYPE_CHECKING:
    from .loop import Run


def epoch(run: Run, rate: float, left: float) -> None:
    """One line about the epoch that has ended, from the first process."""
    if run.settings.quiet or not run.first:
        return
    row = run.last_row
    console.write(
        "epoch %3d of %d  loss %.4f  training error %6.2f%%  top-1 %6.2f%%  top-5 %6.2f%%  %.0f images/s  %s left"
        % (
            run.epoch,
            run.recipe.epochs,
            row["train_loss"],
            100 * row["train_error"],
            100 * row["top1"],
            100 * row["top5"],
            rate,
            clock(left),
        )
    )


def summary(run: Run) -> Dict[str, Any]:
    """What is to be said of a finished run."""
    return {
        "out": run.settings.out,
        "variant": run.row.name,
        "recipe": run.recipe.name,
        "classes": list(run.training.classes),
        "training_images": len(run.training.samples),
        "validation_images": len(run.validation.samples),
        "epochs": run.epoch,
        "steps": run.step,
        "bad_images": len(run.bad.seen),
        "parallel": run.scheme.kind,
        "processes": run.scheme.world,
        "bytes_sent_a_step": run.bytes_a_step,
        "best_top1": run.best,
        **{key: run.last_row[key] for key in ("train_loss", "train_error", "val_loss", "top1", "top5") if run.last_row},
    }


def clock(seconds: float) -> str:
    """``h:mm:ss``."""
    whole = int(seconds)
    return "%d:%02d:%02d" % (whole // 3600, whole // 60 % 60, whole % 60)
