"""The rules of kernel tuning as text (grammar: ``csrc/include/fastalex.h``)."""

from __future__ import annotations

import re
from typing import NamedTuple

_RULE = re.compile(r"(fp32|fp16) (\S+) (\d{1,9})-(\d{1,9}) (\S+)(?: split=(\d{1,9}))?$")


class Rule(NamedTuple):
    """For batches ``first`` to ``last``, ``candidate`` serves the layers of ``key`` at ``precision``.

    ``split``: blocks that share a sum; 0 leaves it to the cost model.
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
    """:raises ValueError: for a line that is no rule; whether its candidate exists only the engine knows."""
    found = _RULE.match(line)
    if not found:
        raise ValueError(f"'{line}' is not a tuning rule: fp32|fp16 KEY FIRST-LAST CANDIDATE [split=N]")
    precision, key, first, last, candidate, split = found.groups()
    rule = Rule(precision, key, int(first), int(last), candidate, int(split or 0))
    if not 1 <= rule.first <= rule.last or split == "0":
        raise ValueError(f"'{line}' names no batches, or no split")
    return rule
