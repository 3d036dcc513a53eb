"""The settings of a run, apart from its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Settings:
    """The options of ``fastalex train`` that are not part of a recipe.

    :ivar accumulate: number of parts that the batch of an update is split into.
    :ivar amp: mixed precision, ``bf16``, or ``fp16`` with a scaled loss on a GPU.
    :ivar save_every: number of steps between checkpoints, in addition to those after each epoch; 0: none.
    :ivar timeout: seconds that a process waits for the others before they count as gone.
    :ivar dtype: of the parameters, ``float32``, or ``float64`` to compare runs.
    :ivar trust: resume with a PyTorch that may run code in the checkpoint, see :func:`.checkpoint.load`.
    :ivar bad_limit: number of unreadable images to accept.
    """

    data: str
    out: str
    validation: Optional[str] = None
    holdout: float = 0.1
    seed: int = 0
    workers: int = 2
    device: str = "auto"
    parallel: str = "none"
    accumulate: int = 1
    amp: Optional[str] = None
    save_every: int = 0
    resume: bool = False
    trust: bool = False
    bad_limit: int = 100
    tensorboard: bool = True
    finetune: Optional[str] = None
    classes: Optional[int] = None
    quiet: bool = False
    timeout: int = 600
    dtype: str = "float32"
