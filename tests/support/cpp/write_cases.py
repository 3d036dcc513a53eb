#!/usr/bin/env python3
"""Write op cases with their inputs, references and bounds for tests/support/cpp/check_ops.cpp.

    python tests/support/cpp/write_cases.py OUT [--real]

The references come from the naive backend of this machine, the bounds from fastalex.selftest, so a program for another
processor can be checked where there is no Python. Each case is a line of text, the layer table, then raw arrays:
input and parameters (float32), reference and bound (float64), all little-endian.
"""

from __future__ import annotations

import argparse
from typing import BinaryIO, Sequence

import numpy as np

from fastalex.runtime.precisions import PRECISIONS
from fastalex.selftest import cases, checks


def write_problem(stream: BinaryIO, name: str, shape: Sequence[int], problem: checks.Problem) -> None:
    table = problem.table.encode() + b"\n"
    sizes = [*shape, cases.STORAGES.index(problem.storage), PRECISIONS.index(problem.precision)]
    sizes += [problem.reference.size, len(table), len(problem.params), *(param.size for param in problem.params)]
    stream.write((name + " " + " ".join(map(str, sizes)) + "\n").encode())
    stream.write(table)
    arrays = [(problem.x, "<f4"), *((param, "<f4") for param in problem.params)]
    for array, kind in [*arrays, (problem.reference, "<f8"), (problem.bound, "<f8")]:
        stream.write(np.ascontiguousarray(array, kind).tobytes())


def write_case(stream: BinaryIO, case: cases.Case) -> None:
    """Write ``case`` in every precision that applies to it."""
    write_problem(stream, case.name, case.shape, checks.problem(case))
    if case.op in ("conv", "fc"):
        write_problem(stream, case.name + "-bf16", case.shape, checks.problem(case, "bf16"))
    if case.op == "conv":
        for unsigned in (False, True):
            name = f"{case.name}-int8-{'unsigned' if unsigned else 'signed'}"
            write_problem(stream, name, case.shape, checks.problem(case, "int8", unsigned))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--real", action="store_true", help="the layers of the family at full size too")
    options = parser.parse_args()
    with open(options.out, "wb") as stream:
        for case in cases.CASES.values() if options.real else cases.small():
            if not cases.served(case, "cpu"):
                continue
            write_case(stream, case)


if __name__ == "__main__":
    main()
