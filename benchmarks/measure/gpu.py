"""Measuring a GPU: fastalex against PyTorch, hot and cold, layer by layer against the ceilings of the GPU.

Each engine runs in a process of its own (gpu_worker.py), one after the other on the same GPU, with the same weights and
images: fastalex on every network first, then PyTorch, where it is installed and sees the GPU, eager before compiled. So
whoever stops a run has what matters most.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from benchmarks.measure import gpu_engines, power, processes, timing
from benchmarks.measure.engine_processes import Tools
from benchmarks.measure.errors import ChildError
from benchmarks.records import FAILED, OK, WRONG
from fastalex import variants
from fastalex.errors import UserError
from fastalex.runtime import device_spec
from fastalex.tuning import rules

BATCHES = (1, 8, 32, 128)
SMI_FIELDS = ("name", "pstate", "persistence_mode", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem")
SMI_FIELDS += ("power.draw", "power.limit", "temperature.gpu", "driver_version", "vbios_version")
Child = Callable[[str, Mapping[str, Any]], Dict[str, Any]]


def find(name: str, backend: str = "cuda") -> Optional[device_spec.DeviceSpec]:
    """First GPU of ``backend`` that the device file ``name`` describes; None if there is none."""
    for gpu in device_spec.gpus(backend):
        known = rules.known_as(gpu)
        if known.device is not None and known.device.name == name:
            return device_spec.DeviceSpec(backend, gpu)
    return None


def run_child(task: str, spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Run ``task`` of gpu_worker.py in a fresh process. :raises ChildError: if it fails, hangs or prints nothing."""
    return processes.answer(task, processes.command("measure.gpu_worker", task, json.dumps(spec)))


def host() -> Dict[str, Any]:
    """The host's CPUs, in the form of a machine record."""
    cpus = timing.available_cpus()
    return {"threads": len(cpus) or 1, "cpus": cpus}


class Measurement:
    """One run over networks, engines and batches; :attr:`rows` grow as it goes."""

    def __init__(
        self,
        place: device_spec.DeviceSpec,
        quick: bool,
        fc_weights: Optional[Sequence[str]] = None,
        child: Child = run_child,
        tools: Optional[Tools] = None,
        log: Callable[[str], None] = lambda line: None,
        names: Optional[Sequence[str]] = None,
    ) -> None:
        assert place.gpu is not None
        self.place, self.child, self.tools, self.log = place, child, tools or Tools(), log
        self.base = {
            "device": place.name,
            "torch_device": f"cuda:{place.index}",
            "l2_bytes": place.gpu.l2_bytes,
            "quick": quick,
            **host(),
        }
        self.peaks = child("peaks", self.base)
        self.engines = gpu_engines.chosen(fc_weights, self.peaks["reason"], names)
        if not self.engines:
            raise UserError("none of these engines can be measured: %s" % (self.peaks["reason"] or "no such weights"))
        self.rows: List[Dict[str, Any]] = []
        self.tuning: Dict[str, Optional[str]] = {}

    def run(
        self, names: Sequence[str], batches: Sequence[int], keep: Callable[[Measurement], None] = lambda one: None
    ) -> None:
        """:attr:`rows` of each engine, network and batch; ``keep`` is called whenever there are more.

        :raises ChildError: if fastalex fails; a peer that fails leaves a row that says so, and so does a batch for
            which the GPU has too little memory.
        """
        with contextlib.ExitStack() as stack:
            specs = [self._spec(name, batches, stack) for name in names]
            for engine in self.engines:
                for spec in specs:
                    # Compiling takes minutes, so that each batch has a process of its own.
                    for part in [[batch] for batch in batches] if engine.options.get("compiled") else [list(batches)]:
                        self.log(f"{spec['variant']}: {engine.name}, batch {', '.join(map(str, part))}")
                        self.rows += self._engine(engine, dict(spec, batches=part))
                        keep(self)

    def _spec(self, name: str, batches: Sequence[int], stack: contextlib.ExitStack) -> Dict[str, Any]:
        """SPEC for the processes of a network; its files are in a folder that ``stack`` removes."""
        row = variants.get(name)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastalex-gpu-"))
        spec = dict(self.base, variant=name, folder=folder, batches=list(batches))
        spec.update(shape=[row.channels, row.input_size, row.input_size])
        spec.update(path=os.path.join(folder, "reference.npy"))
        self._prepare(spec)
        return spec

    def _prepare(self, spec: Mapping[str, Any]) -> None:
        wanted = ["weights"] + (["torch"] if any(engine.peer == "torch" for engine in self.engines) else [])
        for conversion in wanted:
            self.tools.once("prepare", dict(spec, conversion=conversion), processes.CHILD_TIMEOUT_S)
        self.tools.once("reference", spec, processes.CHILD_TIMEOUT_S)

    def _engine(self, engine: gpu_engines.Engine, spec: Mapping[str, Any]) -> List[Dict[str, Any]]:
        facts = {"variant": spec["variant"], "engine": engine.name, "peer": engine.peer}
        facts.update(numeric_class=engine.numeric_class, precision=engine.precision, fc_weights=engine.fc_weights)
        before = smi(self.place.index)
        try:
            answer = self.child("measure", dict(spec, engine=engine.name))
        except ChildError as error:
            if engine.peer == "fastalex":
                raise
            return [dict(facts, batch=batch, status=FAILED, note=str(error)) for batch in spec["batches"]]
        if engine.peer == "fastalex":
            self.tuning[engine.name] = answer["tuning"]
        state = {"before": before, "after": smi(self.place.index)}
        rows = []
        for row in answer["rows"]:
            if row.get("failed"):
                rows.append(dict(facts, batch=row["batch"], status=FAILED, note=row["failed"]))
                continue
            status = OK if row["correctness"]["ok"] else WRONG
            rows.append(dict(facts, **row, status=status, note=None, state=state, peaks=self.peaks["peaks"]))
        return rows

    def wrong(self) -> List[Dict[str, Any]]:
        """Rows of fastalex whose result differs from the naive backend's."""
        return [row for row in self.rows if row["peer"] == "fastalex" and row["status"] == WRONG]

    def failed(self) -> List[Dict[str, Any]]:
        """Rows of fastalex without figures because the GPU had too little memory."""
        return [row for row in self.rows if row["peer"] == "fastalex" and row["status"] == FAILED]


def smi(index: int, run: Callable[[Sequence[str]], str] = power.run_smi) -> Optional[Dict[str, str]]:
    """Clocks, watts, temperature and versions by nvidia-smi, as it prints them; None where it is missing or fails."""
    command = [
        "nvidia-smi",
        "--query-gpu=" + ",".join(SMI_FIELDS),
        "--format=csv,noheader,nounits",
        f"--id={index}",
    ]
    try:
        values = [value.strip() for value in run(command).strip().splitlines()[0].split(",")]
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
    return dict(zip(SMI_FIELDS, values)) if len(values) == len(SMI_FIELDS) else None


def record(measurement: Measurement, name: str, base: Mapping[str, Any]) -> Dict[str, Any]:
    """The result file of device ``name``: ``rows`` are fastalex's, ``failed`` its rows without figures, ``peers``
    the others'.

    ``base`` is the record of the machine, as for a CPU.
    """
    gpu = measurement.place.gpu
    known = rules.known_as(gpu)
    result = dict(base, device=name, title=known.card.name if known.card else gpu.name)
    result["machine"] = dict(base["machine"], gpu=dict(vars(gpu)), smi=smi(measurement.place.index))
    result["versions"] = dict(base["versions"], **measurement.peaks["versions"])
    own = [row for row in measurement.rows if row["peer"] == "fastalex" and row["status"] != FAILED]
    result["rows"] = [dict(row, cold=None, peak_rss_mib=None) for row in own]
    result["failed"] = measurement.failed()
    result["peers"] = [row for row in measurement.rows if row["peer"] != "fastalex"]
    result["peers_missing"] = measurement.peaks["reason"] or None
    result["tuning"] = measurement.tuning
    result["peaks"] = measurement.peaks["peaks"]
    return result
