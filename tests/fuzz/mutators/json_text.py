"""Damage to JSON: values of other kinds and sizes anywhere in it, and in JSON that is text of it."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Dict, Union

from . import hostile, plain

_LONG = 100  # elements of a list, or characters of a text, that is repeated often
Container = Union[Dict[str, Any], list]


def mutated(text: str, chance: Random) -> str:
    """``text`` with one to three values of its JSON changed; without JSON, with other bytes."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return plain.mutated(text.encode("utf-8", "surrogatepass"), chance).decode("utf-8", "replace")
    raw: Dict[str, str] = {}  # a mark in the value -> the text that stands there at last
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        value = _changed(value, chance, raw)
    written = json.dumps(value, ensure_ascii=chance.random() < 0.8)
    for mark, content in raw.items():
        written = written.replace(json.dumps(mark), content, 1)
    return written


def _raw(chance: Random, raw: Dict[str, str], content: str) -> str:
    mark = f"@{len(raw)}@{chance.getrandbits(40)}@"
    raw[mark] = content
    return mark


def _changed(value: Any, chance: Random, raw: Dict[str, str]) -> Any:
    """``value`` with a change at one place of it, found by going down at random."""
    if isinstance(value, (dict, list)) and value and chance.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = chance.choice(list(keys))
        if chance.random() < 0.15:
            return _rearranged(value, key, chance, raw)
        value[key] = _changed(value[key], chance, raw)
        return value
    if isinstance(value, str) and value[:1] in ("{", "[") and chance.random() < 0.95:
        return mutated(value, chance)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and chance.random() < 0.4:
        return hostile.near(chance, int(value)) if chance.random() < 0.8 else -value
    if isinstance(value, str) and value and chance.random() < 0.1:
        return (value + " ") * chance.choice((2, 1000, 100_000 if len(value) < _LONG else 3))
    if isinstance(value, str) and value and chance.random() < 0.3:
        return plain.mutated(value.encode("utf-8", "surrogatepass"), chance).decode("utf-8", "replace")
    if chance.random() < 0.3:
        return hostile.text(chance)
    return _raw(chance, raw, chance.choice(hostile.JSON))


def _rearranged(value: Container, key: Any, chance: Random, raw: Dict[str, str]) -> Any:
    kind = chance.randrange(5)
    if kind == 0:
        del value[key]
    elif kind == 1:
        value[key] = [value[key]]
    elif isinstance(value, list):
        return value * chance.choice((2, 1000)) if kind == 2 and len(value) < _LONG else value[::-1]
    elif kind == 2:
        value[hostile.text(chance)] = value[key] if chance.random() < 0.5 else value.pop(key)
    elif kind == 3:
        value[key] = value[chance.choice(list(value))]
    else:
        value[_raw(chance, raw, json.dumps(key))] = _raw(chance, raw, chance.choice(hostile.JSON))  # a key twice
    return value
