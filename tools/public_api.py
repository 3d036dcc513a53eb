#!/usr/bin/env python3
"""Print the public interface: names and signatures in Python, the commands with their options, the C functions.

    python -m tools.public_api > docs/public-api.txt

docs/versioning.md says what is promised of it. tests/project/test_public_api.py compares that file with the code, so
that each change of the interface is a line of a change that somebody reads.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "csrc" / "include" / "fastalex.h"
MODULES = (
    *("fastalex", "fastalex.variants", "fastalex.images", "fastalex.weights", "fastalex.weights.registry"),
    *("fastalex.quantize", "fastalex.lpips", "fastalex.readout", "fastalex.rdm", "fastalex.extractor"),
    "fastalex.jetbot",
)
PACKAGES = ("fastalex.inspection",)  # of which every module is public
ELSEWHERE = ("LearnedPerceptualImagePatchSimilarity",)  # derived from a class of a package that need not be there


def main() -> int:
    sys.stdout.write(text())
    return 0


def text() -> str:
    """Return the interface, a name a line, in three parts."""
    parts = {"Python": list(python()), "Commands": list(commands()), "C": list(functions())}
    return "\n".join("# {}\n\n{}\n".format(title, "\n".join(lines)) for title, lines in parts.items())


# Python ---------------------------------------------------------------------------------------------------------------


def modules() -> Iterator[str]:
    """Yield the names of the public modules."""
    yield from MODULES
    for package in PACKAGES:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            yield f"{package}.{module.name}"


def python() -> Iterator[str]:
    """Yield a line for each name; a class that is found again is only named."""
    classes: Dict[Any, str] = {}
    for name in modules():
        module = importlib.import_module(name)
        for public in sorted(getattr(module, "__all__", None) or _defined(module)):
            full, value = f"{name}.{public}", None if public in ELSEWHERE else getattr(module, public)
            if inspect.isclass(value) and classes.setdefault(value, full) != full:
                yield f"{full} = {classes[value]}"
            else:
                yield from _lines(full, value)


def _defined(module: Any) -> List[str]:
    """Return the functions, classes and constants, limits aside, of a module that names none itself."""
    constants = re.findall(r"^([A-Z][A-Z0-9_]*)\b[^=\n]* = ", inspect.getsource(module), re.MULTILINE)
    own = [
        name
        for name, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module.__name__
    ]
    return [name for name in (*constants, *own) if not name.startswith(("_", "MAX_", "SHOWN_"))]


def _lines(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield name + _signature(value)
        for member, found in sorted(_members(value)):
            yield f"{name}.{member}" + _signature(found)
    else:
        yield name + _signature(value)


def _members(kind: type) -> Iterator[Tuple[str, Any]]:
    """Yield the public methods and properties of a class, and its special methods, but for those of other packages."""
    seen = {"__init__", "__new__"}
    for base in kind.__mro__:
        if not base.__module__.startswith("fastalex"):
            continue
        for name, value in vars(base).items():
            plain = getattr(value, "__func__", value)
            made = getattr(plain, "__module__", base.__module__) != base.__module__  # by NamedTuple or dataclass
            method = inspect.isfunction(plain) or isinstance(value, property)
            if name not in seen and method and not made and (not name.startswith("_") or name == "__call__"):
                yield name, plain
            seen.add(name)


def _signature(value: Any) -> str:
    """Return the parameters and defaults; annotations are left out, which releases of Python print each in its way."""
    if isinstance(value, property) or not callable(value):
        return ""
    if inspect.isclass(value) and issubclass(value, BaseException):
        return ""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    plain = []
    for each in signature.parameters.values():
        default = _Named(each.default.__name__) if inspect.isfunction(each.default) else each.default
        plain.append(each.replace(annotation=inspect.Parameter.empty, default=default))
    return str(inspect.Signature(plain))


class _Named(str):
    """A default that is shown by its name, since its own text is an address in memory."""

    def __repr__(self) -> str:
        return str(self)


# The command line and C -------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    from fastalex.cli import main as program

    for action in program._parser()._subparsers._group_actions:
        for name, parser in sorted(action.choices.items()):
            yield from _options(f"fastalex {name}", parser)


def _options(command: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield command
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in sorted(action.choices.items()):
                yield from _options(f"{command} {name}", inner)
        elif not isinstance(action, argparse._HelpAction):
            words = "/".join(action.option_strings) or str(action.metavar or action.dest)
            count = "" if action.nargs in (None, 0) else f" ({action.nargs})"
            choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
            yield f"{command} {words}{count}{choices}"


def functions() -> Iterator[str]:
    header = re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.DOTALL)
    yield from re.findall(r"^#define (FASTALEX_API_VERSION .*)$", header, re.MULTILINE)
    for function in re.findall(r"^FASTALEX_API ([^;]+);", header, re.MULTILINE):
        yield " ".join(function.split())


if __name__ == "__main__":
    sys.exit(main())
