"""A stand-in for fastalex._core, for API pages of sources that are not compiled: its names are empty classes."""

from __future__ import annotations

import sys
import types
from typing import Any


class _Core(types.ModuleType):
    INT4_GROUP = 1  # modules compute with it when they are imported
    FC_STORAGES = PRECISIONS = ()

    def __getattr__(self, name: str) -> Any:
        return type(name, (), {})


def stand_in() -> None:
    """Let ``import fastalex._core`` succeed where it is not built."""
    sys.modules["fastalex._core"] = _Core("fastalex._core")
