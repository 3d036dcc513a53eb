"""Runs of the CUDA kernels on a cycle simulator, ``benchmarks/simulated/<device>.json``: simulated, not measured.

A run is one launch of one kernel: either whole, or cut to whole waves, that is to a multiple of the blocks that the
device holds at a time. ``python benchmarks/run.py simulated FILE`` checks a file of the form of :data:`SCHEMA` and
merges its runs into the device's, so that is what a simulator has to state. Several models of one device may have run
the same kernel; their results are its range. The kernels of several commits may have run on the same model; the record
lists the commits from old to new.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from benchmarks import records
from benchmarks.contributed import (
    BATCH,
    COMMIT,
    COUNT,
    DEVICE,
    FC_WEIGHTS,
    POSITIVE,
    PRECISION,
    SIZE,
    TEXT,
    VARIANT,
    Field,
    Kind,
    check_object,
)
from fastalex._util.arguments import is_int
from fastalex.errors import UserError

FOLDER = records.HERE / "simulated"
VERSION = 1
WHAT = "simulated, not measured"
CLOCK_TOLERANCE = 0.01  # of us against clocks and clock_mhz: the figures are rounded

_SHARE = Kind("a number above 0, at most 1", lambda value: POSITIVE.fits(value) and value <= 1)
_SAID = Kind(f'"{WHAT}"', lambda value: value == WHAT)
_NUMBER = Kind(str(VERSION), lambda value: is_int(value) and value == VERSION)
_PARAMETERS = Kind(
    "an object of plain values",
    lambda value: isinstance(value, dict) and all(isinstance(one, (str, int, float)) for one in value.values()),
)
_SIMULATOR = {"name": Field(TEXT), "version": Field(TEXT)}
_MODEL = {"name": Field(TEXT), "parameters": Field(_PARAMETERS), "note": Field(TEXT, optional=True)}
_COMMIT = {"commit": Field(COMMIT), "name": Field(TEXT), "what": Field(TEXT)}
_RUN = {
    "variant": Field(VARIANT),
    "precision": Field(PRECISION),
    "fc_weights": Field(FC_WEIGHTS),
    "batch": Field(BATCH),
    "density": Field(_SHARE, optional=True),  # share of the inputs of a fully connected layer that are not zero
    "layer": Field(TEXT),
    "kernel": Field(TEXT),
    "model": Field(TEXT),  # the name of one of the models
    "blocks": Field(COUNT),  # of the launch in the network
    "blocks_run": Field(COUNT),
    "resident": Field(COUNT),  # blocks that the whole device holds at a time
    "clocks": Field(COUNT),
    "clock_mhz": Field(POSITIVE),
    "us": Field(POSITIVE),
    "ipc": Field(POSITIVE, optional=True),  # warp instructions a clock and multiprocessor
    "relative_error": Field(SIZE),  # rms, against the naive backend
    "emulator_error": Field(SIZE, optional=True),  # the same kernel on the emulator
    "commit": Field(COMMIT),  # one of the commits
    "nvcc": Field(TEXT),
    "note": Field(TEXT, optional=True),
}
_NOT_RUN = {"layer": Field(TEXT), "kernel": Field(TEXT), "why": Field(TEXT)}
#: All keys of a file; any other is refused.
SCHEMA: Mapping[str, Field] = {
    "schema": Field(_NUMBER),
    "what": Field(_SAID),
    "device": Field(DEVICE),
    "simulator": Field(fields=_SIMULATOR),
    "models": Field(fields=_MODEL, many=True),
    "commits": Field(fields=_COMMIT, many=True),  # from old to new
    "runs": Field(fields=_RUN, many=True),
    "not_run": Field(fields=_NOT_RUN, many=True),
}


def check(record: Any) -> None:
    """Check that ``record`` is of simulated runs.

    :raises ValueError: if it is not; the message says which value is wrong and what it must be.
    """
    check_object(record, SCHEMA, "")
    models = [one["name"] for one in record["models"]]
    commits = [one["commit"] for one in record["commits"]]
    for what, names in (("models", models), ("commits", [one["name"] for one in record["commits"]])):
        if len(set(names)) < len(names):
            raise ValueError(f"two of the {what} have one name")
    seen = set()
    for index, run in enumerate(record["runs"]):
        path = "runs[%d]" % index
        if run["model"] not in models:
            raise ValueError(f"{path}.model must be one of the models: {', '.join(models)}")
        if run["commit"] not in commits:
            raise ValueError(f"{path}.commit must be one of the commits: {', '.join(commits)}")
        if run["blocks_run"] > run["blocks"]:
            raise ValueError(f"{path}.blocks_run is more than blocks")
        if run["blocks_run"] < run["blocks"] and run["blocks_run"] % run["resident"]:
            raise ValueError(f"{path}.blocks_run must be whole waves of {run['resident']} blocks, or all")
        us = run["clocks"] / run["clock_mhz"]
        if abs(run["us"] - us) > CLOCK_TOLERANCE * us:
            raise ValueError(f"{path}.us: clocks and clock_mhz give {us:.4g}")
        if name_of(run) in seen:
            raise ValueError(f"{path} is there twice")
        seen.add(name_of(run))


def name_of(run: Mapping[str, Any]) -> Tuple[str, ...]:
    """What no two runs of a record have in common; sorts them."""
    return (*map(str, of_case(run)), run["layer"], run["commit"], run["kernel"], run["model"])


def of_case(row: Mapping[str, Any]) -> Tuple[Any, ...]:
    """What of a network a run, or a prediction, is about."""
    return row["variant"], row["precision"], row["fc_weights"], row["batch"], row.get("density")


def scale(run: Mapping[str, Any]) -> float:
    """By what the time of a run is multiplied for the whole launch: its waves, by those that were run."""
    waves = [-(-run[key] // run["resident"]) for key in ("blocks", "blocks_run")]
    return waves[0] / waves[1]


def read(path: Path) -> Dict[str, Any]:
    """Read and check one file. :raises UserError: for a file that is none of simulated runs; says why."""
    try:
        record: Dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        check(record)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no record of simulated runs: {error}") from None
    return record


def load(folder: Optional[Path] = None) -> List[Dict[str, Any]]:
    """The record of each device, from :data:`FOLDER`. :raises UserError: for a file that is none."""
    return [read(path) for path in sorted((folder or FOLDER).glob("*.json"))]


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Dict[str, Any]:
    """``old`` with the models, commits, runs and remarks of ``new``, which replace those of the same name or launch.

    :raises UserError: if they are of different devices or simulators.
    """
    for key in ("device", "simulator"):
        if old[key] != new[key]:
            raise UserError(f"the {key} is {new[key]}, and that of the record is {old[key]}")
    ran = {(run["layer"], run["kernel"]) for run in new["runs"]}
    names = {
        "models": lambda one: (one["name"],),
        "commits": lambda one: one["name"],
        "runs": name_of,
        "not_run": lambda one: (one["layer"], one["kernel"]),
    }
    result = dict(old)
    for key, name in names.items():
        rows = {name(one): one for one in [*old[key], *new[key]]}
        in_order = key == "commits"
        result[key] = list(rows.values()) if in_order else [row for _, row in sorted(rows.items())]
    result["not_run"] = [one for one in result["not_run"] if (one["layer"], one["kernel"]) not in ran]
    return result
