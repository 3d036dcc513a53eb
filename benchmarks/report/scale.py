"""The tables of docs/scale.md, measured and modelled, from the records of the command scale."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Sequence

from benchmarks import files, records, scaling
from benchmarks.report.machine import measured
from benchmarks.report.markdown import digits, table

RESULTS = records.RESULTS / "scale" / "cpu"
REPORT = records.DOCS / "scale.md"
NAME = "scale"  # of the part between marks


def rate_table(network: Mapping[str, Any]) -> str:
    lines = []
    for row in network["rows"]:
        one = next(r for r in network["rows"] if r["workers"] == 1 and bool(r.get("ray")) == bool(row.get("ray")))
        efficiency = row["images_per_s"] / row["workers"] / one["images_per_s"]
        memory = [digits(row["peak_mib"]), digits(row.get("driver_peak_mib"))]
        stored = digits(row["received"] / 1e3) if row.get("ray") else ""
        lines.append([row["name"], digits(row["images_per_s"]), f"{100 * efficiency:.0f} %", digits(row["first_s"])])
        lines[-1] += [*memory, stored]
    title = f"{network['images']} images, {network['layer']}"
    head = [title, "images/s", "efficiency", "first block s", "peak MiB", "driver's", "object store kB an image"]
    return table(head, lines)


def parts_line(network: Mapping[str, Any]) -> str:
    parts = {key: 1e3 * value for key, value in network["parts"].items()}
    driver = [1e3 * row["driver_s"] for row in network["rows"] if row.get("ray")]
    text = "Milliseconds an image on one CPU: reading and decoding {}, the network {}, writing {}, merging {}".format(
        *(digits(parts[key]) for key in ("read_and_decode_s", "compute_s", "write_s", "merge_s"))
    )
    text += f", Ray's driver {digits(driver[-1])}" if driver else ""
    sizes = tuple(digits(network[key] / 1e3) for key in ("image_bytes", "row_bytes"))
    return text + ". An image is {} kB, its row {} kB.\n".format(*sizes)


def model_table(network: Mapping[str, Any]) -> str:
    lines = []
    for ray in (False, True) if scaling.has_ray(network) else (False,):
        for workers, rate, bottleneck, hours in scaling.predicted(network, ray):
            lines.append(["Ray" if ray else "shards", str(workers), digits(rate), digits(hours), bottleneck])
    head = ["**model, not measured**", "workers", "images/s", "hours for ImageNet", "bottleneck"]
    return table(head, lines)


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """What stands between the marks of docs/scale.md."""
    parts: List[str] = []
    for one in found:
        versions = ", ".join(
            f"{name} {one['versions'][name]}" for name in ("fastalex", "ray") if name in one["versions"]
        )
        parts.append(f"### {one['title']} ({one['machine']['isa']}), {one['machine']['cores']} CPUs\n")
        parts.append(f"{measured(one).capitalize()}; {versions}.\n")
        for network in one["networks"]:
            parts.append(f"{network['title'][0].upper()}{network['title'][1:]}:\n")
            parts += [rate_table(network), parts_line(network), model_table(network)]
    return "\n".join(parts).rstrip("\n") if parts else "Nothing is measured yet."


def load() -> List[Dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def write() -> None:
    files.replace_between(REPORT, NAME, render(load()))
