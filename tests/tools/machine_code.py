"""Machine code of Maxwell for tests, as nvdisasm prints it, and blocks that execute it."""

from __future__ import annotations

from tools.cuda_gate import execution, sass


def control(stall=1, sets=7, frees=7, waits=(), yields=False):
    return stall | (not yields) << 4 | sets << 5 | frees << 8 | sum(1 << 11 + one for one in waits)


def listing(*rows):
    """What nvdisasm prints for Maxwell: rows are (label or instruction with its predicate, control)."""
    lines, place = [".text.kernel:"], 0
    instructions = [row for row in rows if isinstance(row, tuple)]
    words = [instructions[i : i + 3] for i in range(0, len(instructions), 3)]
    for row in rows:
        if isinstance(row, str):
            lines.append(row + ":")
            continue
        if place % 3 == 0:
            bits = sum(one[1] << 21 * i for i, one in enumerate(words[place // 3]))
            lines.append(f"   /* 0x{bits:016x} */")
        lines.append(f"   /*{8 * (place + place // 3 + 1):04x}*/   {row[0]} ;   /* 0x0000000000000000 */")
        place += 1
    return "\n".join(lines)


def kernel_of(*rows):
    return sass.parse(listing(*rows))["kernel"]


def launch_of(threads=32, grid=(1, 1, 1), shared=0, arguments=b"", filled=()):
    return execution.Launch(grid, threads, shared, arguments, filled)


def run_block(kernel, launch, index=0, architecture=53):
    block = execution.Block(execution.Program(kernel, architecture), launch, index)
    return block, block.execute()
