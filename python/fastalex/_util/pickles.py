"""The version that a pickle of the package's objects carries."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from .._version import __version__
from ..errors import UserError

_KEY = "fastalex"


def stamped(**state: Any) -> Dict[str, Any]:
    """Return ``state`` with the version of the package, for ``__getstate__``."""
    return {_KEY: __version__, **state}


def check(state: Mapping[str, Any], advice: str) -> None:
    """Check that ``state`` comes from this version of the package.

    :raises UserError: if it does not, with the ``advice``.
    """
    version = state.get(_KEY)
    if version != __version__:
        raise UserError(f"the pickle is of fastalex {version}, this is {__version__}: {advice}")
