"""Measuring a GPU: fastalex against PyTorch, hot and cold, layer by layer against the ceilings of the GPU.

Each engine runs in a process of its own (gpu_worker.py), one after the other on the same GPU, with the same weights and
images. PyTorch is compared with where it is installed and sees the GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import gpu_clock
import gpu_engines
import peers
import power
import timing
from fastalex import variants
from fastalex.errors import UserError
from fastalex.runtime import device_spec
from fastalex.tuning import rules

BATCHES = (1, 8, 32, 128)
WORKER = Path(__file__).resolve().with_name("gpu_worker.py")
SMI_FIELDS = ("name", "pstate", "persistence_mode", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem")
SMI_FIELDS += ("power.draw", "power.limit", "temperature.gpu", "driver_version", "vbios_version")
Child = Callable[[str, Mapping[str, Any]], Dict[str, Any]]


def find(name: str, backend: str = "cuda") -> Optional[device_spec.DeviceSpec]:
    """The first GPU of ``backend`` that the device file ``name`` describes; None if there is none."""
    for gpu in device_spec.gpus(backend):
        known = rules.known_as(gpu)
        if known.device is not None and known.device.name == name:
            return device_spec.DeviceSpec(backend, gpu)
    return None


def run_child(task: str, spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Do ``task`` in a fresh process. :raises timing.ChildError: if it fails, hangs or says nothing."""
    command = [sys.executable, str(WORKER), task, json.dumps(spec)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timing.CHILD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise timing.ChildError("the %s process did not end in %.0f s" % (task, timing.CHILD_TIMEOUT_S)) from None
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise timing.ChildError("the %s process failed (%d): %s" % (task, done.returncode, (said or ["?"])[-1][:300]))
    return json.loads(lines[-1])


class Measurement:
    """One run over networks, engines and batches; :attr:`rows` grow as it goes."""

    def __init__(
        self,
        place: device_spec.DeviceSpec,
        quick: bool,
        fc_weights: Optional[Sequence[str]] = None,
        child: Child = run_child,
        tools: Optional[peers.Tools] = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        assert place.gpu is not None
        self.place, self.child, self.tools, self.say = place, child, tools or peers.Tools(), say
        self.base = {
            "device": place.name,
            "torch_device": "cuda:%d" % place.index,
            "l2_bytes": place.gpu.l2_bytes,
            "quick": quick,
            "threads": len(timing.available_cpus()) or 1,
            "cpus": timing.available_cpus(),
        }
        self.peaks = child("peaks", self.base)
        self.engines = gpu_engines.chosen(fc_weights, self.peaks["reason"])
        self.rows: List[Dict[str, Any]] = []
        self.tuning: Dict[str, Optional[str]] = {}

    def run(self, names: Sequence[str], batches: Sequence[int]) -> None:
        """:raises timing.ChildError: if fastalex fails; a peer that fails leaves a row that says so."""
        for name in names:
            row = variants.get(name)
            with tempfile.TemporaryDirectory(prefix="fastalex-gpu-") as folder:
                spec = dict(self.base, variant=name, folder=folder, batches=list(batches))
                spec.update(shape=[row.channels, row.input_size, row.input_size])
                spec.update(path=os.path.join(folder, "reference.npy"))
                self._prepare(spec)
                for engine in self.engines:
                    self.say("%s: %s" % (name, engine.name))
                    self.rows += self._engine(engine, spec)

    def _prepare(self, spec: Mapping[str, Any]) -> None:
        wanted = ["weights"] + (["torch"] if any(engine.peer == "torch" for engine in self.engines) else [])
        for conversion in wanted:
            self.tools.once("prepare", dict(spec, conversion=conversion), timing.CHILD_TIMEOUT_S)
        self.tools.once("reference", spec, timing.CHILD_TIMEOUT_S)

    def _engine(self, engine: gpu_engines.Engine, spec: Mapping[str, Any]) -> List[Dict[str, Any]]:
        facts = {"variant": spec["variant"], "engine": engine.name, "peer": engine.peer}
        facts.update(numeric_class=engine.numeric_class, precision=engine.precision, fc_weights=engine.fc_weights)
        before = smi(self.place.index)
        try:
            answer = self.child("measure", dict(spec, engine=engine.name))
        except timing.ChildError as error:
            if engine.peer == "fastalex":
                raise
            return [dict(facts, batch=batch, status=peers.FAILED, note=str(error)) for batch in spec["batches"]]
        if engine.peer == "fastalex":
            self.tuning[engine.name] = answer["tuning"]
        state = {"before": before, "after": smi(self.place.index)}
        rows = []
        for row in answer["rows"]:
            status = peers.OK if row["correctness"]["ok"] else peers.WRONG
            rows.append(dict(facts, **row, status=status, note=None, state=state, peaks=self.peaks["peaks"]))
        return rows

    def wrong(self) -> List[Dict[str, Any]]:
        """Rows of fastalex whose result is not that of the naive backend."""
        return [row for row in self.rows if row["peer"] == "fastalex" and row["status"] != peers.OK]


def smi(index: int, run: Callable[[Sequence[str]], str] = power.run_smi) -> Optional[Dict[str, str]]:
    """Clocks, watts, temperature and versions by nvidia-smi, as it prints them; None where it is missing or fails."""
    command = ["nvidia-smi", "--query-gpu=" + ",".join(SMI_FIELDS), "--format=csv,noheader,nounits", "--id=%d" % index]
    try:
        values = [value.strip() for value in run(command).strip().splitlines()[0].split(",")]
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
    return dict(zip(SMI_FIELDS, values)) if len(values) == len(SMI_FIELDS) else None


def record(measurement: Measurement, name: str, base: Mapping[str, Any]) -> Dict[str, Any]:
    """The result file of device ``name``: ``rows`` are fastalex's, ``peers`` the others'.

    ``base`` is the record of the machine, as for a CPU.
    """
    gpu = measurement.place.gpu
    known = rules.known_as(gpu)
    found = dict(base, device=name, title=known.card.name if known.card else gpu.name)
    found["machine"] = dict(base["machine"], gpu=dict(vars(gpu)), smi=smi(measurement.place.index))
    found["versions"] = dict(base["versions"], **measurement.peaks["versions"])
    found["rows"] = [dict(row, cold=None, peak_rss_mib=None) for row in measurement.rows if row["peer"] == "fastalex"]
    found["peers"] = [row for row in measurement.rows if row["peer"] != "fastalex"]
    found["peers_missing"] = measurement.peaks["reason"] or None
    found["tuning"] = measurement.tuning
    found["peaks"] = measurement.peaks["peaks"]
    return found


def check_options(options: Any) -> None:
    """:raises UserError: for options that are for CPUs only."""
    if options.peers is not None or options.layers:
        raise UserError("on a GPU, PyTorch and the layers are measured in any case: leave out --peers and --layers")
    if options.threads is not None:
        raise UserError("--threads is for CPUs")


def clock_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the times were taken with."""
    names = sorted({str(row["clock"]) for row in rows if row.get("clock")})
    note = " and ".join(names) or gpu_clock.EVENTS
    return note + (", which includes waiting for the GPU" if gpu_clock.HOST in names else "")
