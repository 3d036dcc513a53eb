"""Writing files: whole, or not at all; a part of a document; and JSON that has a line for each row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Collection, Mapping

from fastalex._util.files import write_atomically

__all__ = ["as_json", "replace_between", "write_atomically"]


def replace_between(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the lines ``<!-- begin name -->`` and ``<!-- end name -->`` of a document that has them."""
    start, end = (f"<!-- {word} {name} -->" for word in ("begin", "end"))
    head, found, rest = path.read_text(encoding="utf-8").partition(start)
    if found:
        write_atomically(path, f"{head}{start}\n\n{text}\n{end}{rest.partition(end)[2]}")


def as_json(value: Mapping[str, Any], sort_keys: bool = True) -> str:
    """JSON with a line for each key of ``value`` and for each row of a table in it, at whatever depth.

    A table is a list of objects, or an object of nothing but objects and lists: rows that have names. So a changed
    figure is one changed line.
    """
    plain = json.loads(json.dumps(value, sort_keys=sort_keys))
    return "{{\n{}\n}}\n".format(",\n".join(f" {json.dumps(key)}: {_lines(one, 2)}" for key, one in plain.items()))


def _lines(value: Any, indent: int) -> str:
    """A value whose rows, if it is or has a table, are indented by ``indent``."""
    if isinstance(value, list) and _all(value, dict):
        return _rows("[]", [_lines(one, indent + 1) for one in value], indent)
    if isinstance(value, dict):
        named = _all(value.values(), (dict, list))
        below = indent + 1 if named else indent
        items = [f"{json.dumps(key)}: {_lines(one, below)}" for key, one in value.items()]
        return _rows("{}", items, indent) if named else f"{{{', '.join(items)}}}"
    return json.dumps(value)


def _all(values: Collection[Any], kind: Any) -> bool:
    return bool(values) and all(isinstance(one, kind) for one in values)


def _rows(brackets: str, rows: Collection[str], indent: int) -> str:
    return "{}\n{}\n{}{}".format(
        brackets[0],
        ",\n".join(" " * indent + one for one in rows),
        " " * (indent - 1),
        brackets[1],
    )
