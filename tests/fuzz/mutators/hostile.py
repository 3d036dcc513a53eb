"""Values that programs seldom expect: texts, numbers and nested values, for any format."""

from __future__ import annotations

import zlib
from random import Random
from typing import List

TEXTS = (
    *("", " ", "\0", "a\nb", "a\rb", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\u202egnp.exe", "\u2028", "\ud800"),
    *("\x9b31m", "é" * 3, "%s%n{0}", "[bold]x[/bold]", "../../etc/passwd", "/etc/passwd", "a" * 100_000, "\U0001f600"),
    *("NaN", "1e999", "-1", "__class__", "conv1.weight", "fc6.weight", "alexnet2012", "caffenet", "int8", "0x10"),
)
_DEEP = 100_000  # levels, far more than Python's stack has
JSON_NUMBERS = (
    *("0", "-0.0", "1", "-1", "2", "255", "1.5", "1e308", "1e-320", "4294967296", "9223372036854775807"),
    *("9223372036854775808", "1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5000, "1e400", "NaN", "Infinity"),
    "-Infinity",
)
JSON = (  # as text, since Python could not hold or write some of them
    *JSON_NUMBERS,
    *(
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[[]]",
        "[null]",
        '{"a": {}}',
        '"\\ud800"',
        '"\\u001b[31m"',
        '"',
        "[1,",
        "x",
    ),
    *("[" * _DEEP + "]" * _DEEP, '{"a":' * _DEEP + "1" + "}" * _DEEP, "[" + "1," * 100_000 + "1]"),
)
_POWERS = tuple(1 << bits for bits in (7, 8, 15, 16, 20, 24, 31, 32, 33, 40, 61, 62, 63))
INTEGERS = (0, 1, -1, 2, 3, 127, 255, 1000, 2**61 - 1, 10**6, *(p + d for p in _POWERS for d in (-1, 0, 1)))


def zeros(count: int) -> bytes:
    """``count`` MiB of zeros, deflated: a block that is compressed once and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * count + packer.flush()


def text(chance: Random) -> str:
    return chance.choice(TEXTS)


def integer(chance: Random) -> int:
    value = chance.choice(INTEGERS)
    return -value if chance.random() < 0.2 else value


def packed(chance: Random, width: int, order: str) -> bytes:
    """An integer in ``width`` bytes: a hostile one, cut to that width."""
    return (integer(chance) % (1 << 8 * width)).to_bytes(width, order)


def near(chance: Random, value: int) -> int:
    """An integer near ``value``, or in a simple proportion to it."""
    factors: List[int] = [value - 1, value + 1, value * 2, value // 2, -value, value * 1000, value + 8]
    return chance.choice(factors)
