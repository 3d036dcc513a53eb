"""What the instructions of each architecture do, as far as addresses and branches depend on it."""

from __future__ import annotations

from ..toolchain import ToolError
from .base import Base, Run
from .maxwell import Maxwell
from .turing import Turing

__all__ = ["Run", "of_architecture"]


def of_architecture(architecture: int) -> Base:
    """What turns the instructions of sm_<architecture> into functions.

    :raises ToolError: if nobody has written it down.
    """
    if architecture < 70:
        return Maxwell()
    if architecture == 75:
        return Turing()
    raise ToolError(f"what the instructions of sm_{architecture} do is not known")
