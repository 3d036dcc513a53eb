"""Public names of a package that are loaded at their first use, so that importing the package costs next to nothing."""

from __future__ import annotations

import importlib
from typing import Any, Callable, Mapping


def attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module-level ``__getattr__`` for ``package``.

    :param homes: public name -> the module, relative to the package, that defines it; a module's own name -> itself.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module = importlib.import_module("." + homes[name], package)
        return module if homes[name] == name else getattr(module, name)

    return load
