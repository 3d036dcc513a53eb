"""Stand-ins for objects that a pickle describes and that are never made: no class is imported, nothing is called.

A checkpoint holds more than tensors: options, schedulers, metrics, random states. Their places in the pickle are taken
by a :class:`Placeholder`, which keeps what the pickle would pass to the class.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from ..errors import FormatError

#: Modules whose functions no checkpoint needs. Nothing here would call them; a pickle that names one attacks programs
#: that do, and its user should know.
_DANGEROUS = frozenset(
    "_posixsubprocess code codeop commands ctypes importlib nt os pip platform posix pty runpy shutil socket subprocess"
    " sys timeit webbrowser".split()
)
_DANGEROUS_BUILTINS = frozenset("__import__ breakpoint compile eval exec execfile input open".split())


class ClassName:
    """A class or function that a pickle names and that is not imported."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Placeholder:
    """An object of the class ``name`` that is not made.

    ``arguments`` would go to its constructor; ``state`` to ``__setstate__``; ``entries`` are the items of a subclass of
    dict, ``elements`` those of a subclass of list or set.
    """

    __slots__ = ("arguments", "elements", "entries", "name", "state")

    def __init__(self, name: str, arguments: Tuple[Any, ...] = ()) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None
        self.entries: Optional[Dict[Any, Any]] = None
        self.elements: Optional[List[Any]] = None

    def __str__(self) -> str:
        return self.class_name

    @property
    def class_name(self) -> str:
        """The name of the class without its module."""
        return self.name.rpartition(".")[2]


def class_named(name: str) -> ClassName:
    """Return the stand-in for a class that a pickle calls ``name``.

    :raises FormatError: if it is a function that only an attack would name.
    """
    top, _, rest = name.replace("__builtin__.", "builtins.").partition(".")
    if top in _DANGEROUS or (top == "builtins" and rest in _DANGEROUS_BUILTINS):
        raise FormatError(
            f"its pickle asks for {name!r:.100}, which no checkpoint needs: it would attack a program that runs it, "
            "and should be deleted"
        )
    return ClassName(name)
