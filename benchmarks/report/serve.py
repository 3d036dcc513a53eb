"""The tables of docs/serving.md from the records of the HTTP service: its load, and its hostile clients."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from benchmarks import files, records, targets
from benchmarks.report.machine import measured
from benchmarks.report.markdown import digits, table

RESULTS = records.RESULTS / "serve" / "cpu"
HOSTILITY = records.RESULTS / "serve" / "hostility"
REPORT = records.DOCS / "serving.md"
OWN = "fastalex"
LOOP = "no server"
WIDTH = 120
Verdict = Tuple[str, float, float, bool]  # what, the figure, its target, whether it is met


def networks(one: Mapping[str, Any]) -> List[str]:
    return list(dict.fromkeys(row["network"] for row in rows_of(one, "comparison")))


def rows_of(one: Mapping[str, Any], case: str, network: Optional[str] = None) -> List[Mapping[str, Any]]:
    return [row for row in one["rows"] if row["case"] == case and network in (None, row["network"])]


def comparison(one: Mapping[str, Any], network: str) -> str:
    lines = []
    for row in rows_of(one, "comparison", network):
        low, high = row["images_per_cpu_s_range"]
        spread = f"{digits(row['images_per_cpu_s'])} ({digits(low)} to {digits(high)})"
        latency = [digits(row.get(key)) for key in ("p50_ms", "p99_ms")]
        lines.append([row["name"], spread, digits(row["images_per_s"]), *latency, digits(row.get("batch"))])
    head = [network, "images a CPU second", "images/s", "p50, ms", "p99, ms", "mean batch"]
    return table(head, lines)


def batching(one: Mapping[str, Any]) -> str:
    lines = []
    for row in rows_of(one, "batching"):
        low, high = row["images_per_s_range"]
        spread = f"{digits(row['images_per_s'])} ({digits(low)} to {digits(high)})"
        lines.append(
            [row["name"], spread, digits(row["images_per_cpu_s"]), digits(row["p50_ms"]), digits(row["p99_ms"])]
        )
    head = [f"{one['how']['clients_batching']} clients", "images/s", "images a CPU second", "p50, ms", "p99, ms"]
    return table(head, lines)


def half_load(one: Mapping[str, Any]) -> str:
    lines = [
        [digits(row["rate"]), str(row["images"]), *(digits(row[f"p{percent}_ms"]) for percent in (50, 90, 99))]
        for row in rows_of(one, "half load")
    ]
    return table(["requests/s, at random moments", "answered", "p50, ms", "p90, ms", "p99, ms"], lines, left=0)


def verdicts(one: Mapping[str, Any]) -> str:
    """What was to be reached and what was."""
    judged = [line for network in networks(one) for line in judged_comparison(one, network)]
    on_off = [row["images_per_s"] for row in rows_of(one, "batching")]
    if on_off:
        judged.append(
            at_least("images/s with batching, times those without", on_off[0] / on_off[1], targets.SERVE_BATCHING)
        )
    for row in rows_of(one, "half load"):
        ratio = row["p99_ms"] / row["p50_ms"]
        judged.append(("half load: p99, times p50 (at most)", ratio, targets.SERVE_P99, ratio <= targets.SERVE_P99))
    lines = [[what, f"{figure:.2f}", f"{target:g}", "yes" if met else "no"] for what, figure, target, met in judged]
    return table(["", "measured", "target", "met"], lines)


def judged_comparison(one: Mapping[str, Any], network: str) -> List[Verdict]:
    """Images a processor second of the server, as shares of others'."""
    rows = {row["name"]: row["images_per_cpu_s"] for row in rows_of(one, "comparison", network)}
    own = [name for name in rows if name.startswith(OWN)]
    what = f"{network}: {own[0]}, of the loop without a server"
    judged = [at_least(what, rows[own[0]] / rows[LOOP], targets.SERVE_OF_LOOP)]
    others = [name for name in rows if name not in own and name != LOOP]
    if others:
        best = max(others, key=rows.__getitem__)
        what = f"{network}: {own[-1]}, times {best}"
        judged.append(at_least(what, rows[own[-1]] / rows[best], targets.SERVE_OF_PEERS))
    return judged


def at_least(what: str, figure: float, target: float) -> Verdict:
    return what, figure, target, figure >= target


def client_share(one: Mapping[str, Any]) -> float:
    """The largest share of the processor seconds of a row that its client took, in percent."""
    rows = [row for row in one["rows"] if "client_cpu_s" in row]
    return max(100 * row["client_cpu_s"] / (row["client_cpu_s"] + row["server_cpu_s"]) for row in rows)


def heading(one: Mapping[str, Any]) -> str:
    machine, images, how = one["machine"], one["images"], one["how"]
    names = ("fastalex", "fastapi", "litserve", "onnxruntime", "uvicorn")
    versions = ", ".join(f"{name} {one['versions'][name]}" for name in names)
    files_are = "{count} JPEG files of {width} x {height}, {mean_kb:.0f} kB on average".format(**images)
    text = (
        f"{measured(one).capitalize()}; {versions}. {files_are}; {how['clients']} clients over loopback, one image a "
        f"request. Median of {one['rows'][0]['turns']} turns (lowest to highest). The client runs on the same "
        f"{machine['cores']} processors: its time, at most {client_share(one):.0f} % of a row's, is not counted as the "
        "server's."
    )
    title = f"### {one['title']} ({machine['isa']}), {machine['threads']} threads"
    return f"{title}\n\n{textwrap.fill(text, WIDTH)}\n"


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """The measured tables of docs/serving.md."""
    parts = []
    for one in found:
        parts += [heading(one), verdicts(one), *(comparison(one, network) for network in networks(one)), batching(one)]
        if rows_of(one, "half load"):
            parts.append(half_load(one))
    return "\n".join(parts) if parts else "Nothing is measured yet.\n"


def hostility(found: Sequence[Mapping[str, Any]]) -> str:
    """The table of runs with hostile clients."""
    lines = []
    for one in found:
        honest, server = one["honest"], one["server"]
        lines.append(
            [
                f"{one['hostile']} for {one['seconds']:g} s",
                *(f"{honest[key]}" for key in ("sent", "answered", "refused", "wrong", "lost")),
                *(digits(honest[key]) for key in ("p50_ms", "p99_ms")),
                f"{sum(one['statuses'].values())}",
                f"{server['before_mib']:.0f}",
                f"{server['peak_mib']:.0f}",
                f"{server['after_mib']:.0f}",
                f"{server['bound_mib']:.0f}",
            ]
        )
    head = ["hostile clients", "honest requests", "answered", "refused", "wrong", "lost", "p50, ms", "p99, ms"]
    head += ["answers to hostile ones", "MiB before", "peak", "after", "may be"]
    return table(head, lines)


def load(folder: Path) -> List[Dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def write() -> None:
    files.replace_between(REPORT, "load", render(load(RESULTS)))
    files.replace_between(REPORT, "hostility", hostility(load(HOSTILITY)))
