"""Selection of the engines that take part in a comparison."""

from __future__ import annotations

import difflib
from typing import Any, List, Mapping, Optional, Sequence

from benchmarks import ranking
from benchmarks.measure.engines import ENGINES, PEERS, USUALLY_FASTEST, Engine
from benchmarks.numeric_classes import CLASSES
from fastalex.errors import UserError


def fastest(record: Optional[Mapping[str, Any]], batches: Sequence[int], threads: Sequence[int]) -> List[Engine]:
    """fastalex in the classes that are compared, and what was fastest in each class in the rows of ``record`` with
    these batches and threads, whatever the network; where it has no such class, what usually is.
    """
    rows = record["rows"] if record else []
    rows = [row for row in rows if row["batch"] in batches and row["threads"] in threads]
    names = {name for name, one in ENGINES.items() if one.numeric_class in CLASSES}
    names = {name for name in names if ENGINES[name].peer == "fastalex"}
    for numeric_class in CLASSES:
        leaders = set()
        for case in ranking.cases(rows):
            ranked = [row for row in ranking.ranked(rows, case, numeric_class) if row["peer"] != "fastalex"]
            leaders.update(row["engine"] for row in ranked[:1] if row["engine"] in ENGINES)
        names |= leaders or set(USUALLY_FASTEST[numeric_class])
    return [engine for engine in ENGINES.values() if engine.name in names]


def choose(names: Sequence[str]) -> List[Engine]:
    """The engines of the peers called ``names`` (none: all), fastalex's first.

    :raises UserError: for a peer that is not known.
    """
    for name in names:
        if name not in PEERS:
            close = difflib.get_close_matches(name, PEERS, 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise UserError(f"there is no peer '{name}'{hint} (there are: {', '.join(PEERS)})")
    peers = ("fastalex", *(names or PEERS))
    return [engine for engine in ENGINES.values() if engine.peer in peers]
