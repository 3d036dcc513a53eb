"""Damage to files of text lines."""

from __future__ import annotations

from random import Random

from . import hostile, plain

_ENDS = ("\n", "\r\n", "\r", "\x85", "\u2028", "\x0b", "\x0c", "\0")
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "cp1252")


def mutated(data: bytes, chance: Random) -> bytes:
    if chance.random() < 0.2:
        return plain.mutated(data, chance)
    rows = data.decode("utf-8").split("\n")
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(rows))
        kind = chance.randrange(6)
        if kind < 3:
            rows[at] = hostile.text(chance) if chance.random() < 0.7 else rows[at] + hostile.text(chance)
        elif kind == 3:
            rows[at:at] = [rows[at]] * chance.choice((1, 2, 100_000 if len(rows[at]) < 100 else 3))
        elif kind == 4:
            del rows[at]
            rows = rows or [""]
        else:
            rows[at] = "n01440764 " + rows[at] + chance.choice(_ENDS)
    end = chance.choice(_ENDS) if chance.random() < 0.2 else "\n"
    encoding = chance.choice(_ENCODINGS) if chance.random() < 0.2 else "utf-8"
    errors = "surrogatepass" if encoding.startswith("utf") else "replace"
    return end.join(rows).encode(encoding, errors)
