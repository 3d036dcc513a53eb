"""Public names of a package that are imported at their first use, so that importing the package itself is fast."""

from __future__ import annotations

import importlib
from typing import Any, Callable, Mapping


def attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the module-level ``__getattr__`` of ``package``.

    :param homes: public name -> the module that defines it, relative to the package; the name of a module -> itself.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module = importlib.import_module("." + homes[name], package)
        return module if homes[name] == name else getattr(module, name)

    return load
