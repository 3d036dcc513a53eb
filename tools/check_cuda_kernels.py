"""Compile every CUDA kernel for every architecture, without a GPU, and check what it uses.

    python -m tools.check_cuda_kernels                       all families, all architectures
    python -m tools.check_cuda_kernels --arch 53,62 --family conv_simt
    python -m tools.check_cuda_kernels --nvcc /usr/local/cuda/bin/nvcc     also the product's own .cu files
    python -m tools.check_cuda_kernels --table docs/cuda-kernels.md        also which kernel serves which layer

The kernels are compiled with NVRTC 12.9, which reaches from sm_53 to sm_120, and assembled by its ptxas:

    pip install 'nvidia-cuda-nvrtc-cu12==12.9.*' 'nvidia-cuda-nvcc-cu12==12.9.*'

Refused are: a kernel that does not compile; registers or shared memory beyond what a device (devices/*.toml) gives a
block; spills, stack and static shared memory; an architecture for which a family has no kernel.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from fastalex._util.files import write_atomically
from tools.cuda_gate import families, limits, table, toolchain
from tools.cuda_gate.toolchain import ToolError

ARCHITECTURES = (53, 61, 62, 70, 75, 80, 86, 87, 89, 90, 120)
NVCC_FIRST = 75  # the oldest architecture of nvcc 13
# Families that an architecture lacks, and why.
WITHOUT = {"conv_mma": ((53, 61, 62, 70), "mma starts at sm_75")}
Task = Tuple[str, int]


def compile_task(task: Task) -> Tuple[Task, Optional[families.Compiled], str, float]:
    """Compile one family for one architecture; never raises (it runs in a pool)."""
    started = time.monotonic()
    try:
        return task, families.compile_family(*task), "", time.monotonic() - started
    except ToolError as error:
        return task, None, str(error), time.monotonic() - started


def nvcc_task(task: Tuple[str, str, int]) -> Tuple[str, int, Dict[str, toolchain.Usage], str]:
    """Compile one .cu file for one architecture with nvcc."""
    nvcc, source, architecture = task
    path = Path(source)
    includes = [families.CSRC, families.CSRC / "include"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            usage = toolchain.run_nvcc(Path(nvcc), path, architecture, includes, Path(folder, "out.cubin"))
        except ToolError as error:
            return path.name, architecture, {}, str(error)
    return path.name, architecture, usage, ""


def check(compiled: families.Compiled) -> List[str]:
    """Problems of a family on an architecture, one sentence each."""
    problems = [
        f"{compiled.family}: the name {name} is there twice" for name in families.duplicates(compiled.instances)
    ]
    for instance in compiled.instances:
        limit = limits.limits_for(compiled.architecture)
        problems += limits.problems(instance, compiled.usage[instance.name], limit, compiled.architecture)
    if not compiled.instances and compiled.architecture not in WITHOUT.get(compiled.family, ((), ""))[0]:
        problems.append(f"{compiled.family} has no kernel for sm_{compiled.architecture}")
    return problems


def check_all(wanted: Sequence[str], architectures: Sequence[int], processes: int) -> Tuple[List, List[str]]:
    """Compile and check; return (compiled, problems)."""
    tasks = [(family, architecture) for architecture in architectures for family in wanted]
    done, problems = [], []
    with multiprocessing.Pool(processes) as pool:
        for (family, architecture), compiled, error, seconds in pool.imap_unordered(compile_task, tasks):
            wrong = [error] if compiled is None else check(compiled)
            kernels = len(compiled.instances) if compiled else 0
            state = "failed" if wrong else "ok"
            print(f"{family:16} sm_{architecture:-4} {kernels:3} kernels  {seconds:5.1f} s  {state}", flush=True)
            problems += wrong
            if compiled:
                done.append(compiled)
    done.sort(key=lambda one: (one.family, one.architecture))
    return done, problems


def check_nvcc(nvcc: Path, wanted: Sequence[str], architectures: Sequence[int], processes: int) -> List[str]:
    """Compile the product's .cu files as the build does."""
    everything = sorted((families.CSRC / "cuda" / "candidates").glob("*.cu"))
    files = [path for path in everything if path.stem in wanted or set(wanted) == set(families.families())]
    first = NVCC_FIRST if toolchain.nvcc_version(nvcc).startswith("13") else ARCHITECTURES[0]
    tasks = [(str(nvcc), str(path), one) for path in files for one in architectures if one >= first]
    problems = []
    with multiprocessing.Pool(processes) as pool:
        for name, architecture, usage, error in pool.imap_unordered(nvcc_task, tasks):
            problems += [error] if error else []
            for symbol, one in usage.items():
                if one.stack or one.spill_stores or one.spill_loads or one.shared:
                    problems.append(f"nvcc, {name} for sm_{architecture}: {symbol} uses {one}")
            print(f"nvcc {name:20} sm_{architecture:-4} {len(usage):3} kernels  {'failed' if error else 'ok'}")
    return problems


def record(done: Sequence[families.Compiled]) -> str:
    """Resource usage of every kernel as JSON."""
    rows = [
        dict(
            family=compiled.family,
            sm=compiled.architecture,
            name=one.name,
            threads=one.threads,
            shared_bytes=one.shared_bytes,
            **asdict(compiled.usage[one.name]),
        )
        for compiled in done
        for one in compiled.instances
    ]
    return json.dumps({"nvrtc": toolchain.Nvrtc().version, "kernels": rows}, indent=1) + "\n"


def numbers(text: str) -> List[int]:
    values = [int(word) for word in text.replace("sm_", "").split(",")]
    unknown = sorted(set(values) - set(ARCHITECTURES))
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {unknown} (there are {list(ARCHITECTURES)})")
    return values


def main(argv: Optional[List[str]] = None) -> int:
    known = families.families()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=numbers, default=list(ARCHITECTURES), help="such as 53,75; default: all")
    parser.add_argument("--family", type=lambda text: text.split(","), default=known, help="default: all")
    parser.add_argument(
        "--nvcc", help="compile csrc/cuda/candidates/*.cu with this nvcc as well (sm_75 and later with nvcc 13)"
    )
    parser.add_argument("--json", type=Path, help="write what every kernel uses here")
    parser.add_argument("--table", type=Path, help="write which kernel serves which layer here")
    parser.add_argument("--library", type=Path, help="libfastalex_emulated.so, for --table (cuda_emulator)")
    parser.add_argument("--check-table", action="store_true", help="with --table: compare with the file, write nothing")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    wish = parser.parse_args(argv)
    unknown = sorted(set(wish.family) - set(known))
    if unknown:
        parser.error(f"unknown family: {', '.join(unknown)} (there are {', '.join(known)})")
    try:
        toolchain.package_file("cuda_nvcc", "bin/ptxas")
        done, problems = check_all(wish.family, wish.arch, wish.jobs)
        if wish.nvcc:
            nvcc = toolchain.find_program("nvcc", wish.nvcc, "give the path of nvcc")
            problems += check_nvcc(nvcc, wish.family, wish.arch, wish.jobs)
        if wish.json:
            write_atomically(wish.json, record(done))
        if wish.table:
            problems += table.write(wish.table, done, wish.library, wish.check_table)
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    for sentence in problems:
        print(sentence, file=sys.stderr)
    print(f"{int(sum(len(one.instances) for one in done))} kernels compiled, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
