"""Read-outs by one process, by two with a shard each, and by Ray's actors, on this machine; the parts of the work.

Every process and actor has one CPU, as a job of a cluster would. What they wrote is compared, to the bit, before it
counts. Rates are from when all workers have begun to the last block: their start, which a large read-out pays once, has
a column of its own.
"""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from benchmarks import records
from benchmarks.measure import machine, processes, timing
from benchmarks.measure.errors import ChildError, WrongResultError
from fastalex.errors import UserError

# Name of a network -> its weights, the layer, the size of the images, their number.
NETWORKS: Dict[str, Dict[str, Any]] = {
    "digits": {"weights": "digits", "layer": "fc7", "size": [64, 64], "count": 3200},
    "torchvision": {"weights": "torchvision.safetensors", "layer": "features.10", "size": [500, 375], "count": 1600},
}
TITLES = {"digits": "the bundled digits network", "torchvision": "torchvision's AlexNet, random weights"}
CHILD_S = 120


def start(task: str, spec: Dict[str, Any]) -> subprocess.Popen:
    command = processes.command("measure.scale_worker", task, json.dumps(spec))
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())


def environment() -> Dict[str, str]:
    """One thread for libraries; Ray's processes find this package, too."""
    return dict(processes.environment(1), PYTHONPATH=os.pathsep.join([str(records.ROOT), *sys.path[1:]]))


def end(task: str, process: subprocess.Popen) -> Dict[str, Any]:
    try:
        said, _ = process.communicate(timeout=CHILD_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise ChildError(f"the {task} process did not end within {CHILD_S} s") from None
    if process.returncode:
        raise ChildError(f"the {task} process failed ({process.returncode}); what it said is above")
    return json.loads(said.decode().splitlines()[-1])


def child(task: str, spec: Dict[str, Any]) -> Dict[str, Any]:
    return end(task, start(task, spec))


def measure(name: str, folder: Path, quick: bool, with_ray: bool) -> Dict[str, Any]:
    cpus = timing.available_cpus()
    if len(cpus) < 2:
        raise UserError("this needs two CPUs")
    spec = dict(NETWORKS[name], images=str(folder / "images"))
    spec["count"] //= 4 if quick else 1
    if spec["weights"].endswith(".safetensors"):
        spec["weights"] = str(folder / spec["weights"])
    facts = child("images", spec)
    one = child("plain", dict(spec, output=str(folder / "one"), cpu=cpus[0]))
    shards = [dict(spec, output=str(folder / "two"), cpu=cpus[i], shard=f"{i + 1}/2") for i in range(2)]
    halves = [end("plain", process) for process in [start("plain", shard) for shard in shards]]
    parts = child("parts", dict(spec, output=str(folder / "parts"), cpu=cpus[0], merge=str(folder / "two")))
    rows = [row("1 process", [one]), row("2 processes, a shard each", halves)]
    for actors in (1, 2) if with_ray else ():
        rows.append(ray_row(actors, child("ray", dict(spec, output=str(folder / f"ray{actors}"), cpus=actors))))
    outputs = ["two", "parts", *(f"ray{actors}" for actors in (1, 2) if with_ray)]
    check(folder, spec["layer"] + ".npy", outputs)
    size = (folder / "one" / (spec["layer"] + ".npy")).stat().st_size / spec["count"]
    facts.update(title=TITLES[name], layer=spec["layer"], images=spec["count"], row_bytes=size)
    return dict(facts, rows=rows, parts=parts)


def row(name: str, found: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Processes that run side by side: the sum of their rates, the latest start, the largest memory."""
    return {
        "name": name,
        "workers": len(found),
        "images_per_s": sum(one["images"] / one["steady_s"] for one in found),
        "first_s": max(one["first_s"] for one in found),
        "peak_mib": max(one["peak_mib"] for one in found),
    }


def ray_row(actors: int, found: Dict[str, Any]) -> Dict[str, Any]:
    if found["workers"] != actors:
        raise WrongResultError(f"{found['workers']} actors computed, not {actors}")
    keys = ("cluster_s", "driver_peak_mib", "driver_s", "sent", "received")
    name = f"Ray, {actors} actor{'s' if actors > 1 else ''}"
    return dict(row(name, [found]), workers=actors, ray=True, **{key: found[key] for key in keys})


def check(folder: Path, file: str, outputs: Sequence[str]) -> None:
    for other in outputs:
        if not filecmp.cmp(folder / "one" / file, folder / other / file, shallow=False):
            raise WrongResultError(f"{other} has other values than one process")


def record(names: Sequence[str], quick: bool, with_ray: bool) -> Dict[str, Any]:
    networks: List[Dict[str, Any]] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            networks.append(measure(name, Path(folder), quick, with_ray))
        print(f"{name}: measured", file=sys.stderr)
    versions: Dict[str, str] = {}
    ray: Optional[str] = ray_version() if with_ray else None
    if ray:
        versions["ray"] = ray
    head = machine.short_record("scale", quick, {"cores": len(timing.available_cpus())}, versions)
    return dict(head, networks=networks)


def ray_version() -> Optional[str]:
    """The version of Ray, None if it is not installed."""
    try:
        import ray
    except ImportError:
        return None
    return str(ray.__version__)
