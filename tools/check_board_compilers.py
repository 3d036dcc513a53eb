"""Compile every kernel of the boards of JetPack 4.6 (Jetson Nano, TX2) with NVRTC of their CUDA 10.2, without a GPU.

    python -m tools.check_board_compilers                         writes docs/board-compilers.md
    python -m tools.check_board_compilers --wheels DIR --output FILE

It is run by hand: NVRTC 10.2 is inside PyPI's torch 1.10.2, a wheel of 882 MB, which is downloaded and not installed
(what is missing is said, with the command). Refused is what tools/check_cuda_kernels.py refuses: a kernel that does not
compile, spills, or takes more than the board gives a block. Nothing is written then.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import List, Mapping, Optional, Sequence

from benchmarks.measure import machine
from fastalex._util.files import write_atomically
from fastalex.hardware import devices
from tools import check_cuda_kernels
from tools.cuda_gate import boards, families, limits
from tools.cuda_gate.toolchain import ToolError

WHEELS = families.ROOT / "build" / "board_compilers"
DOCUMENT = families.ROOT / "docs" / "board-compilers.md"
HEAD = """# The boards' kernels through the compiler of CUDA 10.2

Written by `python -m tools.check_board_compilers`, which is run by hand; edit nothing here. JetPack 4.6, the last one
of {titles}, has CUDA 10.2. NVRTC {nvrtc} compiled every kernel that
these boards can run, with `{options}`, to PTX {ptx}, and ptxas {ptxas} assembled it: on {date}, from commit
{commit}.

What differs from the boards' own compilers:

- NVRTC is the one for x86-64 (in PyPI's torch 1.10.2). It has no built-in functions for {wanted}; it
  compiled for {virtual}, with `__CUDA_ARCH__` as on the board, and the line `.target` of the PTX was
  changed to the board's.
- ptxas {ptxas} is the oldest on PyPI; that of 10.2 may choose other registers. It takes no instruction that PTX {ptx}
  lacks.
- nvcc 10.2, gcc 7.5 and the boards themselves have not been tried.

Registers are of a thread, spills and stack in bytes of a thread, shared memory is of a block; the share is of a
multiprocessor's threads that blocks of the kernel can fill at a time. Nothing in this file is a measurement.
"""


def compile_board(compilers: boards.Compilers, board: devices.Device) -> List[boards.Result]:
    """Compile all families for a board, and print a line for each.

    :raises ToolError: if a compiler refuses.
    """
    architecture = limits.architecture_of(board)
    results = []
    for family in families.families():
        started = time.monotonic()
        results.append(boards.compile_family(compilers, family, architecture))
        kernels, seconds = len(results[-1].compiled.instances), time.monotonic() - started
        print(f"{board.name:8} {family:24} {kernels:3} kernels  {seconds:5.1f} s", flush=True)
    return results


def render(results: Mapping[str, Sequence[boards.Result]], head: Mapping[str, str]) -> str:
    """The document. ``results``: by the board's name. ``head``: what :data:`HEAD` has gaps for."""
    known = [devices.get(name) for name in results]
    lines = [HEAD.format(**head), *summary(results), ""]
    columns = [f"{board.name}: registers | share" for board in known]
    lines += ["| kernel | family | threads | shared memory | {} |".format(" | ".join(columns))]
    lines += ["| --- " * (4 + 2 * len(known)) + "|"]
    cells = {board.name: board_cells(board, results[board.name]) for board in known}
    for name in dict.fromkeys(name for board in known for name in cells[board.name]):
        one, _ = next(cells[board.name][name] for board in known if name in cells[board.name])
        row = [cells[board.name][name][1] if name in cells[board.name] else " | " for board in known]
        lines.append(
            f"| `{name}` | {one.family} | {one.threads} | {one.shared_bytes / 1024:.1f} KiB | {' | '.join(row)} |"
        )
    return "\n".join(lines) + "\n"


def summary(results: Mapping[str, Sequence[boards.Result]]) -> List[str]:
    """Lines of the table with a row a board."""
    lines = ["| board | kernels | most registers | spills | stack |", "| --- | --- | --- | --- | --- |"]
    for name, of_board in results.items():
        usages = [usage for result in of_board for usage in result.compiled.usage.values()]
        most = max(one.registers for one in usages)
        spills = sum(one.spill_stores + one.spill_loads for one in usages)
        stack = sum(one.stack for one in usages)
        sm = limits.architecture_of(devices.get(name))
        lines.append(f"| {devices.get(name).title} (`{name}`, sm_{sm}) | {len(usages)} | {most} | {spills} | {stack} |")
    return lines


def board_cells(board: devices.Device, results: Sequence[boards.Result]) -> dict:
    """Kernel name -> the kernel, and its two cells for a board."""
    limit = limits.limits_of(board)
    cells = {}
    for result in results:
        for one in result.compiled.instances:
            usage = result.compiled.usage[one.name]
            share = limits.occupancy(limit, one.threads, one.shared_bytes, usage)
            cells[one.name] = one, f"{usage.registers} | {100 * share:.0f} %"
    return cells


def facts(compilers: boards.Compilers, results: Mapping[str, Sequence[boards.Result]]) -> Mapping[str, str]:
    """What :data:`HEAD` has gaps for."""
    known = [devices.get(name) for name in results]
    architectures = [limits.architecture_of(board) for board in known]
    versions = {result.ptx_version for of_board in results.values() for result in of_board} - {""}
    return {
        "titles": " and ".join(board.title for board in known),
        "nvrtc": compilers.nvrtc.version,
        "ptxas": compilers.ptxas_release,
        "options": families.OPTIONS[0],
        "ptx": ", ".join(sorted(versions)),
        "date": machine.today(),
        "commit": machine.commit() or "unknown",
        "wanted": " and ".join(f"compute_{one}" for one in architectures),
        "virtual": " and ".join(f"compute_{boards.virtual_architecture(one)}" for one in architectures),
    }


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, default=WHEELS, help="folder of the two wheels")
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="the document to write")
    wish = parser.parse_args(argv)
    try:
        compilers = boards.load(wish.wheels)
        results = {board.name: compile_board(compilers, board) for board in boards.boards()}
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    problems = [
        sentence
        for of_board in results.values()
        for result in of_board
        for sentence in check_cuda_kernels.check(result.compiled)
    ]
    for sentence in problems:
        print(sentence, file=sys.stderr)
    if not problems:
        write_atomically(wish.output, render(results, facts(compilers, results)))
    print(*summary(results), f"{len(problems)} problems", sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
