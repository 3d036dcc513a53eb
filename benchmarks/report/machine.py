"""Lines on the machine: where a record was measured and with what, and the limits that were measured beside it."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from benchmarks.floors import READS, SUPPORTED


def machine_line(record: Mapping[str, Any]) -> str:
    """One paragraph: versions, system, compiler, threads and where they were pinned."""
    machine, versions = record["machine"], record["versions"]
    pinned, counts = machine.get("pinned_cpus"), machine.get("thread_counts") or [machine["threads"]]
    parts = [
        f"fastalex {versions['fastalex']}, Python {versions['python']}, numpy {versions['numpy']}",
        machine["os"],
        f"{' and '.join(map(str, counts))} threads {(f'pinned to CPUs {pinned}' if pinned else 'not pinned')}",
        f"engine ISA {machine['isa']}",
        f"compiler {versions['build'].get('compiler', 'unknown')}",
        measured(record),
    ]
    return "; ".join(parts) + ("; **quick run, not for comparison**" if record.get("quick") else "") + "."


def measured(record: Mapping[str, Any]) -> str:
    """When it was measured, and at which commit of this repository."""
    return f"measured {record['date']}, commit {commit(record.get('commit'))}"


def commit(name: Optional[str]) -> str:
    """Ten digits of a commit, and whether files differed from it; the oldest records do not name one."""
    if not name:
        return "not recorded"
    digits, dash, rest = name.partition("-")
    return digits[:10] + dash + rest


def limits_line(limits: Optional[Mapping[str, Any]]) -> str:
    """One line of figures."""
    if not limits:
        return "limits: not measured"
    rates = [f"{key} {limits['gflop_s'][key]:.0f}" for key in SUPPORTED if limits["gflop_s"].get(key)]
    reads = [f"{limits[key]:.1f} from {pages}" for key, pages in READS.items() if limits.get(key)]
    return f"limits: {', '.join(rates)} Gop/s; read {', '.join(reads)} GB/s"
