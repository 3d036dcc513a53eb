#!/usr/bin/env python3
"""Write op cases with their inputs, references and bounds for tests/cpp/check_ops.cpp.

    python tests/cpp/write_cases.py OUT [--real]

The references come from the naive backend of this machine, the bounds from fastalex.selftest, so a program for another
processor can be checked where there is no Python. Each case is a line of text, the layer table, then raw arrays:
input and parameters (float32), reference and bound (float64), all little-endian.
"""

from __future__ import annotations

import argparse
from typing import BinaryIO

import numpy as np

from fastalex import cases, selftest


def write_case(stream: BinaryIO, case: cases.Case) -> None:
    x, params = case.random()
    kept = params if case.storage == "fp32" else selftest.kept_params(case, params, "cpu")
    reference = selftest.run_native(case.table, x, kept, selftest.REFERENCE).astype(np.float64)
    bound = selftest.error_bound(case, x, kept, reference, selftest.arithmetic_of(case, "cpu"))
    table = case.table.encode() + b"\n"
    sizes = [*case.shape, cases.STORAGES.index(case.storage), reference.size, len(table), len(params)]
    sizes += [param.size for param in params]
    stream.write((case.name + " " + " ".join(map(str, sizes)) + "\n").encode())
    stream.write(table)
    for array, kind in [(x, "<f4"), *((param, "<f4") for param in params), (reference, "<f8"), (bound, "<f8")]:
        stream.write(np.ascontiguousarray(array, kind).tobytes())


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
