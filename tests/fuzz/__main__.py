"""The command ``python -m tests.fuzz``: many cases of all formats or some, a table, and each kind of fault once."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import tempfile
import time
from typing import Dict, List

from tests.fuzz import corpus, pool


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(corpus.FORMATS)} (default: all)")
    parser.add_argument("--cases", type=int, default=200, metavar="N", help="of each format (default: 200)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first case (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes (default: all cores)")
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S", help="stop then (default: never)")
    folder = os.path.join(tempfile.gettempdir(), "fastalex-fuzz-faults")
    parser.add_argument("--keep", default=folder, metavar="DIR", help=f"folder for bad cases (default: {folder})")
    options = parser.parse_args()
    unknown = set(options.formats) - set(corpus.FORMATS)
    if unknown:
        parser.error(f"there is no format {', '.join(sorted(unknown))}")
    names = options.formats or list(corpus.FORMATS)
    numbers = range(options.first, options.first + options.cases)
    start = time.monotonic()
    cases = [(name, number) for number in numbers for name in names]
    results = []
    for one in pool.run(cases, options.keep, options.jobs, seconds=options.seconds):
        results.append(one)
        if one.verdict.kind not in pool.GOOD:
            print(f"{one.name} {one.number} {one.verdict.kind}: {one.verdict.reason[:150]}", file=sys.stderr)
    print(pool.table(results))
    bad = pool.faults(results)
    for kind, alike in _by_kind(bad).items():
        first = min(alike, key=lambda one: os.path.getsize(one.path))
        print(f"\n{kind}, {len(alike)} cases: {first.verdict.reason}\n  {first.path}\n  {first.replay}")
    print(f"\n{len(results)} cases, {len(bad)} bad, {time.monotonic() - start:.0f} s")
    return 1 if bad else 0


def _by_kind(bad: List[pool.Result]) -> Dict[str, List[pool.Result]]:
    """The bad cases by what went wrong, without the names and numbers in it."""
    found: Dict[str, List[pool.Result]] = {}
    for one in bad:
        reason = re.sub(r"'[^']*'|\"[^\"]*\"|\d+|/\S+", "_", one.verdict.reason)[:90]
        key = f"{one.name} {one.verdict.kind}: {one.verdict.reason[:60] if one.verdict.kind == 'traceback' else reason}"
        found.setdefault(key, []).append(one)
    return found


if __name__ == "__main__":
    sys.exit(main())
