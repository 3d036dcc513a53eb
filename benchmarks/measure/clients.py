"""Comparison for users who switch: fastalex beside the PyTorch code of JetBot and thingsvision, on this machine's CPU.

Needs PyTorch. Each row is measured in a process of its own (clients_worker.py), so that time to the first answer and
peak memory belong to it alone; all have the same random weights, and their answers are compared first. ``jetbot`` is
one camera frame of 224 x 224 to a probability, ``readout`` a folder of JPEG files to the activations of two modules on
disk.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from typing import Any, Dict, List, Sequence

import numpy as np

from benchmarks.measure import machine, processes, timing
from benchmarks.measure.clients_worker import MODULES
from benchmarks.measure.errors import WrongResultError

# Absolute differences of a probability; for int8 weights see docs/accuracy.md.
PROBABILITY_TOLERANCE = {"fp32": 1e-4, "int8": 0.05}

# Name of a row -> who computes it, and the options of AlexNet.
JETBOT = {
    "fastalex": ("fastalex", {}),
    "fastalex, int8 weights": ("fastalex", {"fc_weights": "int8"}),
    "PyTorch, eval and no_grad": ("pytorch", {"careful": True}),
    "PyTorch, as the notebook has it": ("pytorch", {"careful": False}),
}
READOUT = {"fastalex readout": ("fastalex", {}), "PyTorch with hooks, np.save": ("pytorch", {})}


def child(task: str, spec: Dict[str, Any]) -> Dict[str, Any]:
    command = processes.command("measure.clients_worker", task, json.dumps(spec))
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
    return json.loads(done.stdout.decode().splitlines()[-1])


def measure(threads: int, quick: bool) -> Dict[str, List[Dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        spec: Dict[str, Any] = {"weights": folder + "/best_model.pth", "images": folder + "/images"}
        spec.update(threads=threads, count=32 if quick else 256)
        spec.update(warmup_s=0.2 if quick else 1.0, measure_s=0.5 if quick else 5.0)
        child("weights", spec)
        for side in ("fastalex", "pytorch"):  # the first process reads files that are not cached yet
            child(
                "jetbot", dict(spec, side=side, options=next(o for s, o in JETBOT.values() if s == side), measure_s=0.1)
            )
        jetbot = []
        for name, (side, options) in JETBOT.items():
            jetbot.append(dict(child("jetbot", dict(spec, side=side, options=options)), name=name))
        check_answers(jetbot)
        readout = []
        for index, (name, (side, _)) in enumerate(READOUT.items()):
            output = f"{folder}/out{index}"
            row = dict(child("readout", dict(spec, side=side, output=output)), name=name, images=spec["count"])
            readout.append(row)
        check_files(folder + "/out0", folder + "/out1")
    return {"jetbot": jetbot, "readout": readout}


def check_answers(rows: Sequence[Dict[str, Any]]) -> None:
    """Check all answers against PyTorch in evaluation mode. (The notebook leaves dropout on.)"""
    expected = np.array(rows[2]["answers"])
    for row, tolerance in zip(rows, (PROBABILITY_TOLERANCE["fp32"], PROBABILITY_TOLERANCE["int8"])):
        error = float(np.abs(np.array(row["answers"]) - expected).max())
        if not error <= tolerance:
            raise WrongResultError(f"{row['name']}: {row['answers']} instead of {list(expected)}")


def check_files(ours: str, theirs: str) -> None:
    for name in MODULES:
        a, b = (np.load(f"{folder}/{name}.npy") for folder in (ours, theirs))
        if a.shape != b.shape or not np.abs(a - b).max() <= timing.TOLERANCES["fp32"] * np.abs(b).max():
            raise WrongResultError(f"the activations of {name} differ")


def record(rows: Dict[str, List[Dict[str, Any]]], threads: int, quick: bool) -> Dict[str, Any]:
    import torch

    head = machine.short_record("clients", quick, {"threads": threads}, {"torch": torch.__version__})
    return {**head, **rows}
