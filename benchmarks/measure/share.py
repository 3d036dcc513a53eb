"""Reduction of a GPU record to a contributed result: small, checked, and without anything about its owner."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from benchmarks import contributed
from benchmarks.measure import power
from benchmarks.measure.errors import MeasurementError

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 .,;:+()/@#_=~-]+")


def contribution(record: Mapping[str, Any], root: Path = power.ROOT) -> Dict[str, Any]:
    """The part of ``record`` that is contributed, in the form of :mod:`benchmarks.contributed`.

    :raises MeasurementError: if the record makes no contribution, with the reason.
    """
    machine, versions, gpu = record["machine"], record["versions"], record["machine"]["gpu"]
    smi: Mapping[str, str] = machine.get("smi") or {}
    shared = {
        "schema": contributed.VERSION,
        "device": record["device"],
        "title": plain(record["title"]),
        "date": record["date"],
        "commit": record["commit"],
        "gpu": {
            "name": plain(gpu["name"]),
            "sm": gpu["sm"],
            "sms": gpu["sms"],
            "memory_mib": gpu["memory_bytes"] >> 20,
            "clock_mhz": gpu["clock_khz"] / 1000,
        },
        "board": {
            "power_mode": plain(machine["state"].get("nvpmodel")),
            "clocks_held": machine["state"].get("clocks_held"),
            "jetpack": plain(power.jetpack(root)),
            "driver": plain(smi.get("driver_version")),
            "sm_clock_mhz": number(smi.get("clocks.sm")) or power.jetson_gpu_mhz(root),
            "memory_clock_mhz": number(smi.get("clocks.mem")),
            "power_limit_w": number(smi.get("power.limit")),
            "os": plain(machine["os"]),
        },
        "versions": {
            "fastalex": plain(versions["fastalex"]),
            "python": plain(versions["python"]),
            "numpy": plain(versions["numpy"]),
            "cuda_driver": cuda_version(gpu["driver"]),
            "cuda_runtime": cuda_version(gpu["runtime"]),
            "torch": plain(versions.get("torch")),
        },
        "rows": [_row(row) for row in record["rows"]],
        "failed": [dict(_numbers(row), why=plain(row["note"])) for row in record.get("failed", ())],
    }
    try:
        contributed.check(shared)
    except ValueError as error:
        raise MeasurementError(f"what was measured cannot be shared: {error}") from None
    return shared


def _numbers(row: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: row[key] for key in ("variant", "batch", "precision", "fc_weights")}


def _row(row: Mapping[str, Any]) -> Dict[str, Any]:
    correct = {key: row["correctness"][key] for key in ("max_abs_diff", "tolerance")}
    figures = {key: row[key] for key in ("median_ms", "p10_ms", "p90_ms", "images_per_s", "clock")}
    return dict(_numbers(row), correct=correct, l2_cold_ms=(row.get("l2_cold") or {}).get("median_ms"), **figures)


def plain(text: Optional[str]) -> Optional[str]:
    """Replace characters that a contributed result may not have; None for empty text."""
    return " ".join(_NOT_PLAIN.sub(" ", text).split())[:200] or None if text else None


def number(text: Optional[str]) -> Optional[float]:
    """Parse a number of nvidia-smi; None for ``[N/A]`` and 0."""
    try:
        return float(text or "") or None
    except ValueError:
        return None


def cuda_version(number: int) -> str:
    """``12.9`` of 12090."""
    return f"{number // 1000}.{number % 1000 // 10}"
