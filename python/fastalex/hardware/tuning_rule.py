"""Tuning rules as text, which choose kernels for layers (grammar: ``csrc/include/fastalex.h``)."""

from __future__ import annotations

import re
from typing import NamedTuple

_RULE = re.compile(r"(fp32|fp16) (\S+) (\d{1,9})-(\d{1,9}) (\S+)(?: split=(\d{1,9}))?$")


class Rule(NamedTuple):
    """The choice of ``candidate`` for layers of the shape ``key`` at ``precision``, for batches ``first`` to ``last``.

    ``split`` is the number of blocks that share a sum; 0 leaves it to the cost model.
    """

    precision: str
    key: str
    first: int
    last: int
    candidate: str
    split: int = 0

    @property
    def text(self) -> str:
        """The rule as the native engine reads it."""
        words = "%s %s %d-%d %s" % self[:5]
        return words + f" split={self.split}" if self.split else words


def parse_rule(line: str) -> Rule:
    """Parse the text of a rule; only the engine knows whether its candidate exists.

    :raises ValueError: if the line is not a rule.
    """
    match = _RULE.match(line)
    if not match:
        raise ValueError(f"'{line}' is not a tuning rule: fp32|fp16 KEY FIRST-LAST CANDIDATE [split=N]")
    precision, key, first, last, candidate, split = match.groups()
    rule = Rule(precision, key, int(first), int(last), candidate, int(split or 0))
    if not 1 <= rule.first <= rule.last or split == "0":
        raise ValueError(f"'{line}' names no batches, or no split")
    return rule
