"""What a run is asked to do, apart from its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Settings:
    """``accumulate``: each update's batch goes through in that many parts. ``amp``: mixed precision, ``bf16`` or
    ``fp16`` (with a scaled loss, on a GPU). ``save_every``: steps between checkpoints, besides those after each epoch.
    ``bad_limit``: images that may be unreadable."""

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
    bad_limit: int = 100
    tensorboard: bool = True
    finetune: Optional[str] = None
    classes: Optional[int] = None
    quiet: bool = False
