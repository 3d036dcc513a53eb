"""Speed targets of fastalex on a CPU, and the verdict on the rows of a comparison.

A class of arithmetic, network and batch is met if the fastest peer of the class takes so many times as long as
fastalex, or if fastalex comes near enough to the limit of the machine that was measured in the same run. What is to be
reached depends on the kind of machine (:func:`kind_of`): on some the peers have instructions that fit them better.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from benchmarks import ranking
from benchmarks.numeric_classes import BITS16, CLASSES, FC8, FP32, INT8

#: Kinds of machines: AMX multiplies tiles of bytes and bf16.
AMX, INTEL_AVX512, AMD_AVX512, AVX2 = "Intel with AMX", "Intel with AVX-512", "AMD with AVX-512", "AVX2"
Ratios = Dict[Tuple[str, int], Dict[Optional[str], float]]
#: (class, batch) -> the least ratio of the fastest peer's time to fastalex's, by network or for all: on a machine whose
#: kind has no other.
RATIOS: Ratios = {
    (FP32, 1): {None: 1.2},
    (FP32, 32): {None: 1.4},
    (FC8, 1): {"alexnet2012": 2.0, "torchvision": 1.6},
    (FC8, 32): {None: 1.4},
    (BITS16, 1): {None: 1.3},
    (BITS16, 32): {None: 1.0},
    (INT8, 1): {None: 1.15},
    (INT8, 32): {None: 1.0},
}
_INTEL_FP32: Ratios = {(FP32, 32): {"alexnet2012": 2.0, "torchvision": 1.67}}
#: What differs from :data:`RATIOS`.
OF_KIND: Dict[str, Ratios] = {
    AMX: {
        **_INTEL_FP32,
        (FC8, 1): {"alexnet2012": 2.0, "torchvision": 1.2},
        **{(numeric_class, batch): {None: 1.15} for numeric_class in (BITS16, INT8) for batch in (1, 32)},
    },
    INTEL_AVX512: _INTEL_FP32,
    AVX2: {(INT8, batch): {None: 1.15} for batch in (1, 32)},
}
#: What differs further where at most this share of the inputs of fully connected layers is not zero.
SPARSE_DENSITY = 0.35
OF_KIND_SPARSE: Dict[str, Ratios] = {AMX: {(FC8, 1): {"alexnet2012": 2.0, "torchvision": 1.35}}}
ONE_THREAD = 0.9  # share of the ratio required with one thread on a machine with more
PERCENT_OF_LIMIT = 85.0
#: A fresh process with 8-bit fully connected weights from a file that holds them so; the installed size without numpy.
COLD_TOTAL_MS, COLD_PEAK_MIB = 250.0, 150e6 / 2**20
INSTALLED_MB = 30.0
#: Case of LPIPS -> times as fast as the package lpips, on a CPU.
LPIPS = {"batch 1": 2.0, "batch 16": 2.0, "50 x 50 matrix": 10.0}
#: The HTTP service. Images a processor second: at least this share of a loop without a server, and this many times as
#: many as the best other server. Images a second: this many times as many with batching as without.
SERVE_OF_LOOP, SERVE_OF_PEERS, SERVE_BATCHING = 0.85, 1.5, 2.0
#: At half load the 99th percentile of the latency is at most this many times the median.
SERVE_P99 = 5.0


def kind_of(record: Mapping[str, Any]) -> Optional[str]:
    """The kind of the machine of ``record``, at the instruction set that its engines were held to; None for others."""
    isa, simd = str(record["machine"]["isa"]), record["machine"].get("simd") or ()
    if isa.startswith("v3"):
        return AVX2
    if not isa.startswith("v4"):
        return None
    if any(flag.startswith("amx") for flag in simd):
        return AMX
    return AMD_AVX512 if "AMD" in record["title"] else INTEL_AVX512


def ratios(record: Mapping[str, Any]) -> Ratios:
    """The least ratios on the machine of ``record``, and at the density that it asked for."""
    kind, asked = kind_of(record) or "", record.get("density_asked")
    sparse = asked is not None and max(asked) <= SPARSE_DENSITY
    return {**RATIOS, **OF_KIND.get(kind, {}), **(OF_KIND_SPARSE.get(kind, {}) if sparse else {})}


def ratio_target(
    numeric_class: str, variant: str, batch: int, one_of_many: bool, least: Ratios = RATIOS
) -> Optional[float]:
    """The least ratio; None where none was set. ``one_of_many``: one thread, on a machine that has more."""
    by_network = least.get((numeric_class, batch), {})
    target = by_network.get(variant, by_network.get(None))
    return None if target is None else target * (ONE_THREAD if one_of_many else 1.0)


def verdicts(rows: Sequence[Mapping[str, Any]], least: Ratios = RATIOS) -> List[Dict[str, Any]]:
    """One for each class, network, number of threads and batch in ``rows`` in which fastalex has a time.

    ``ratio`` is None without a right peer, ``percent`` without limits; ``met`` is None where there is no target, or
    neither figure to hold against it.

    :param least: the ratios to be reached.
    """
    most = max((row["threads"] for row in rows), default=1)
    rated = []
    for numeric_class in CLASSES:
        for case in ranking.cases(rows):
            variant, batch, threads = case
            ranked = ranking.ranked(rows, case, numeric_class)
            own = next((row for row in ranked if row["peer"] == "fastalex"), None)
            if own is None:
                continue
            peer = next((row for row in ranked if row["peer"] != "fastalex"), None)
            verdict = {"numeric_class": numeric_class, "variant": variant, "batch": batch, "threads": threads}
            verdict.update(ms_per_image=own["ms_per_image"], peer=peer and peer["engine"])
            verdict["peer_ms_per_image"] = peer and peer["ms_per_image"]
            verdict["ratio"] = peer["median_ms"] / own["median_ms"] if peer else None
            verdict["percent"] = percent(own)
            verdict["target"] = ratio_target(numeric_class, variant, batch, threads == 1 and most > 1, least)
            verdict["met"] = is_met(verdict["ratio"], verdict["target"], verdict["percent"])
            rated.append(verdict)
    return sorted(
        rated, key=lambda verdict: (CLASSES.index(verdict["numeric_class"]), verdict["variant"], verdict["threads"])
    )


def percent(row: Mapping[str, Any]) -> Optional[float]:
    """Percentage of the machine's limit that a row of fastalex reaches."""
    if row.get("floor_ms") is None or not row["median_ms"]:
        return None
    return 100.0 * row["floor_ms"] / row["median_ms"]


def is_met(ratio: Optional[float], target: Optional[float], of_limit: Optional[float]) -> Optional[bool]:
    """Whether the target is met; None without a target, or if the limit alone does not settle it."""
    near = of_limit is not None and of_limit >= PERCENT_OF_LIMIT
    if target is None or (ratio is None and not near):
        return None
    return near or (ratio is not None and ratio >= target)
