"""Versions and installed sizes of the packages of engines."""

from __future__ import annotations

import os
import re
from importlib import metadata
from typing import Any, Dict, Iterable, Optional, Sequence

from benchmarks.measure.engines import Engine


def version(engine: Engine) -> Optional[str]:
    """Version of the engine's distribution; None if pip does not know it."""
    distribution = _distribution(engine.distributions)
    return distribution.version if distribution else None


def installed_mb(names: Sequence[str], without: Sequence[str] = ()) -> Optional[float]:
    """Size in 1e6 bytes of the first installed distribution of ``names`` and of all that it requires (no extras).

    ``without`` are left out of the sum. None where none is installed, or pip did not note its files.
    """
    first = _distribution(names)
    if first is None or not first.files:
        return None
    seen: Dict[str, int] = dict.fromkeys(without, 0)
    todo = [first]
    while todo:
        one = todo.pop()
        key = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        if key in seen:
            continue
        paths = [str(one.locate_file(file)) for file in one.files or ()]
        seen[key] = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
        for requirement in one.requires or ():
            name, _, marker = requirement.partition(";")
            if "extra" not in marker:
                needed = _distribution([re.split(r"[^A-Za-z0-9._-]", name.strip())[0]])
                todo += [needed] if needed else []  # requirements of other systems are not installed
    return sum(seen.values()) / 1e6


def _distribution(names: Sequence[str]) -> Optional[metadata.Distribution]:
    for name in names:
        try:
            return metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def facts(chosen: Iterable[Engine]) -> Dict[str, Dict[str, Any]]:
    """Version and installed size of each peer, with and without numpy; None where it is not installed."""
    return {
        engine.peer: {
            "version": version(engine),
            "installed_mb": installed_mb(engine.distributions),
            "without_numpy_mb": installed_mb(engine.distributions, ("numpy",)),
        }
        for engine in chosen
    }
