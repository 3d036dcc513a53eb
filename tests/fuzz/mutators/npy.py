"""Damage to .npy: its header, a Python literal of type, order and shape, and what follows it."""

from __future__ import annotations

import json
import re
from random import Random

from . import hostile, json_text, pickles

_MAGIC = b"\x93NUMPY"
_TYPES = (
    *("'<f4'", "'>f4'", "'<f8'", "'|O'", "'<U100000000'", "'|V1000000000'", "'<c16'", "'|b1'", "'<M8[s]'", "'float'"),
    *("[('a', '<f4')]", "[('a', '|O')]", "('<f4', (1000,))", "b'<f4'", "1", "None", "''", "'x\\x1b[31m'", "'<f4' * 9"),
)
_SHAPES = (
    *("()", "(0,)", "(-1,)", "(1,)", "2", "None", "('a',)", "(True,)", "(2.5,)", "(1e9,)", "[2, 3]", "(2, -3)"),
    *("(4294967296, 4294967296)", f"({2**63},)", f"(0, {2**62})", f"({10**400},)", f"({'1, ' * 40})", "(1, " * 200),
)
_ORDERS = ("True", "False", "1", "None", "'x'")
_FIELDS = (
    *((r"'descr': ('[^']*')", _TYPES), (r"'fortran_order': (\w+)", _ORDERS), (r"'shape': (\([^)]*\))", _SHAPES)),
)


def mutated(data: bytes, chance: Random) -> bytes:
    if not data.startswith(_MAGIC):
        return data
    wide = data[6] > 1
    start = 12 if wide else 10
    length = int.from_bytes(data[8:start], "little")
    header, body = data[start : start + length].decode("latin-1"), data[start + length :]
    version = data[6:8]
    if chance.random() < 0.1:
        version = bytes([chance.choice((1, 2, 3, 255)), chance.choice((0, 0, 1))])
    if chance.random() < 0.6:
        header = _changed(header, chance)
    elif b"\x80" in body[:2]:
        body = pickles.mutated(body, chance)
    elif body[:1] in (b"{", b"["):
        body = json_text.mutated(body.decode("utf-8"), chance).encode("utf-8", "surrogatepass")
        header = re.sub(r"'shape': \([^)]*\)", f"'shape': ({len(body)},)", header)
    else:
        body = body[: chance.randrange(len(body) + 1)] if chance.random() < 0.5 else body + b"\0" * chance.randint(1, 9)
    encoded = header.encode("latin-1", "replace")
    stated = len(encoded) if chance.random() < 0.95 else hostile.integer(chance)
    return _MAGIC + version + (stated % (1 << 8 * (start - 8))).to_bytes(start - 8, "little") + encoded + body


def _changed(header: str, chance: Random) -> str:
    kind = chance.randrange(6)
    if kind == 0:
        return header.replace("}", f"{json.dumps(hostile.text(chance)[:50])}: 1}}")
    if kind == 1:
        return re.sub(r"'(descr|fortran_order|shape)'", lambda found: repr(hostile.text(chance)[:50]), header, count=1)
    pattern, values = chance.choice(_FIELDS)
    found = re.search(pattern, header)
    if found is None:
        return header
    value = chance.choice(values)
    return header[: found.start(1)] + value + header[found.end(1) :]
