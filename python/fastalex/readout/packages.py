"""The packages of the extra ``scale``, each imported when it is needed."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import UserError


def needed(module: str, purpose: str) -> Any:
    """Import a module of the extra.

    :param purpose: what needs it, the start of a sentence: "a Zarr store".
    :raises UserError: if its package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = {"sklearn": "scikit-learn"}.get(module.partition(".")[0], module.partition(".")[0])
        raise UserError(f"{purpose} needs the package {package}: pip install 'fastalex[scale]'") from None
