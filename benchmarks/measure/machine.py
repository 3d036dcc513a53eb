"""The machine and its settings: threads, CPUs, and their part of a record."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from benchmarks import records
from benchmarks.measure import power, timing
from fastalex.errors import UserError
from fastalex.hardware import devices

SIMD = re.compile(r"^(sse4_2|ssse3|avx|avx2|fma|f16c|avx512\w*|avx_vnni|amx\w*|asimd\w*|sve\w*|bf16|i8mm|fphp)$")

#: What the commands write, as git's patterns.
WRITTEN = ("benchmarks/results", "benchmarks/charts", "benchmarks/experiments/results", "*.md")


def setting(threads: Optional[Sequence[int]], quick: bool, also: Sequence[int] = ()) -> Dict[str, Any]:
    """Numbers of threads (``counts``; ``threads`` is the highest), the CPUs to pin to, and quick.

    :param threads: the requested numbers; None for one thread on each CPU, and the numbers of ``also``.
    :raises UserError: for more threads than there are CPUs.
    """
    cpus = timing.available_cpus()
    counts = threads or [*also, len(cpus) or os.cpu_count() or 1]
    if min(counts) < 1 or (cpus and max(counts) > len(cpus)):
        raise UserError(f"--threads must be 1 to {len(cpus)}, the CPUs this process may use")
    counts = sorted(set(counts))
    return {"counts": counts, "threads": counts[-1], "cpus": cpus[: counts[-1]], "quick": quick}


def today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


def commit(folder: Path = records.ROOT) -> Optional[str]:
    """The commit that is checked out, with ``-dirty`` where files differ from it; None without git.

    What measuring itself writes counts as no difference: results, and the documents made from them.
    """
    git = ["git", "-C", str(folder)]
    written = [":(exclude)" + name for name in WRITTEN]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, timeout=10, check=True)
        status = [*git, "status", "--porcelain", "-uno", "--", ".", *written]
        changed = subprocess.run(status, capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.decode().strip() + ("-dirty" if changed.stdout.strip() else "")


def make_record(base: Dict[str, Any], rows: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Record of a result file: the rows, the machine, and the versions of the software."""
    import fastalex
    from fastalex import _core

    cpu = devices.cpu()
    clocks = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", devices.read_text("/proc/cpuinfo") or "", re.MULTILINE)
    return {
        "schema": 2,
        "device": "cpu",
        "title": cpu.model,
        "quick": base["quick"],
        "date": today(),
        "commit": commit(),
        "machine": {
            "cores": cpu.cores,
            "architecture": cpu.machine,
            "simd": sorted(flag for flag in cpu.isa if SIMD.match(flag)),
            "isa": str(_core.cpu_isa()),
            "clock_mhz": max(map(float, clocks)) if clocks else None,
            "threads": base["threads"],
            "thread_counts": base.get("counts", [base["threads"]]),
            "pinned_cpus": ", ".join(map(str, base["cpus"])),
            "state": power.state(base["cpus"]),
            "os": operating_system(),
        },
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "fastalex": str(getattr(fastalex, "__version__", "unknown")),
            "build": {key: str(value) for key, value in _core.build_info().items()},
        },
        "rows": rows,
    }


def operating_system() -> str:
    """The distribution and the kernel."""
    named = re.search(r'^PRETTY_NAME="?([^"\n]+)', devices.read_text("/etc/os-release") or "", re.MULTILINE)
    kernel = f"{platform.system()} {platform.release()}"
    return f"{named.group(1)}, {kernel}" if named else kernel


def short_record(device: str, quick: bool, machine: Dict[str, Any], versions: Dict[str, str]) -> Dict[str, Any]:
    """A record without rows that says little of the machine: beside architecture and instruction set, what ``machine``
    and ``versions`` add.
    """
    import fastalex
    from fastalex import _core

    cpu = devices.cpu()
    common = {"python": platform.python_version(), "numpy": np.__version__, "fastalex": fastalex.__version__}
    return {
        "schema": 1,
        "device": device,
        "title": cpu.model,
        "quick": quick,
        "date": today(),
        "commit": commit(),
        "machine": {"architecture": cpu.machine, "isa": str(_core.cpu_isa()), **machine},
        "versions": {**common, **versions},
    }
