"""The comparison with other engines: its order and its verdicts, the tables and charts, meters, and the files it makes.

Most of it runs on two engines that are played in this process; what really starts others is small.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import fastalex
from fastalex import AlexNet, variants
from fastalex.errors import UserError
from fastalex.networks import onnx_export
from fastalex.weights import initial

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are only in a source checkout", allow_module_level=True)

from benchmarks import floors, ranking, records, targets  # noqa: E402
from benchmarks.commands import main  # noqa: E402
from benchmarks.commands import peers as peers_command  # noqa: E402
from benchmarks.measure import (  # noqa: E402
    agreement,
    conversions,
    engine_files,
    engine_processes,
    engines,
    layer_times,
    limits,
    packages,
    peers,
    power,
    runtimes,
    selection,
    timing,
    worker,
)
from benchmarks.measure.budget import Budget  # noqa: E402
from benchmarks.measure.errors import EngineError  # noqa: E402
from benchmarks.measure.preparation import OWN_FILES  # noqa: E402
from benchmarks.numeric_classes import CLASSES, FC8, FP32  # noqa: E402
from benchmarks.report import charts, compose, peer_tables, summary  # noqa: E402
from benchmarks.report import peers as peers_report  # noqa: E402
from benchmarks.report import targets as targets_report  # noqa: E402

RATES = {"fp32": 100.0, "bf16": None, "int8": 400.0, "read_4k": 10.0, "read_huge": 20.0}
LOGITS = np.array([[1.0, -2.0, 3.0], [2.0, 1.0, -1.0]], np.float32)
NARROW = {"widths": (8, 16, 12, 12, 8, 24, 20), "num_classes": 7}


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class PlayedTools(engine_processes.Tools):
    """Engines that answer from a table: name -> (ms a call, factor on the right result)."""

    def __init__(self, table, clock=None, step_s=0.0, absent=(), broken=(), steps=None):
        self.table, self.clock, self.step_s = table, clock or Clock(), step_s
        self.absent, self.broken, self.steps, self.log = absent, broken, steps or {}, []
        self.machine, self.kept, self.loaded = [dict(RATES)], None, {}  # loaded: path -> engine, batch
        self.shares = {}  # the densities that the reference counts

    def limits(self, cpus, threads, quick):
        self.log.append(("limits", tuple(cpus)))
        return self.machine.pop() if len(self.machine) > 1 else self.machine[0]

    def folder(self, variant, quick):
        return contextlib.nullcontext(self.kept) if quick and self.kept else tempfile.TemporaryDirectory()

    def missing(self, engine):
        return "a-module" if engine.name in self.absent else None

    def once(self, task, spec, timeout):
        self.log.append((task, spec.get("conversion") or spec.get("engine")))
        self.clock.now += self.step_s
        if spec.get("conversion") in self.broken:
            raise EngineError("it cannot be converted")
        keys = ("total_ms", "start_ms", "import_ms", "load_ms", "first_run_ms")
        if task == "reference" and self.shares:
            return {"density": [dict(self.shares, variant=spec["variant"], batch=n) for n in spec["batches"]]}
        return dict(dict.fromkeys(keys, 1.0), peak_rss_mib=None) if task == "cold" else {}

    def result(self, path):
        if path.endswith("reference.npy"):
            return LOGITS
        name, batch = self.loaded[path]
        return LOGITS[[0, 1 if batch > 2 else 0, 0]] * np.float32(self.table[name][1])

    def start(self, spec):
        self.log.append(("start", (spec["engine"], spec["threads"], tuple(spec["cpus"]))))
        return PlayedEngine(self, spec["engine"])


class PlayedEngine:
    def __init__(self, tools, name):
        self.tools, self.name, self.closed = tools, name, False

    def __call__(self, do, **command):
        self.tools.log.append((do, self.name))
        self.tools.clock.now += self.tools.step_s
        ms = self.tools.table[self.name][0]
        if do == "burst":
            return {"times_ms": [ms] * command["calls"]}
        self.tools.loaded[command["path"]] = (self.name, command["batch"])
        numeric_class = engines.ENGINES[self.name].numeric_class
        steps = self.tools.steps.get(self.name)
        return {"load_ms": 1.0, "call_ms": ms, "numeric_class": numeric_class, "steps": steps}

    def close(self):
        self.closed = True


def step(*layers, **facts):
    """A step of a network of fastalex, as ``AlexNet.kernels`` describes it."""
    return dict({"layers": list(layers), "numeric": "fp32", "products": 0, "weight_bytes": 0}, **facts)


def chosen(*names):
    return [engines.ENGINES[name] for name in names]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(peers, "PAUSE_S", 0)


def compare(tools, *names, quick=False, budget=None, batches=(1,), networks=("torchvision",), threads=(1,)):
    lines = []
    budget = budget or Budget(None, tools.clock)
    cpus = list(range(max(threads)))
    one = peers.Comparison(chosen(*names), cpus, threads, quick, tools, lines.append, budget)
    one.run(list(networks), list(batches))
    return one, lines


def test_turns_ranking_and_ratio():
    tools = PlayedTools({"fastalex fp32": (10.0, 1), "torch eager": (30.0, 1), "torch channels_last": (20.0, 1)})
    one, _ = compare(tools, *tools.table, batches=(1, 32))
    assert [row["engine"] for row in one.rows] == 2 * list(tools.table)
    assert {row["status"] for row in one.rows} == {records.OK}
    ranked = ranking.ranked(one.rows, ("torchvision", 1, 1), FP32)
    assert [row["engine"] for row in ranked] == ["fastalex fp32", "torch channels_last"]  # a peer's fastest mode
    assert ranking.ratio(one.rows[1], one.rows) == pytest.approx(3)
    assert one.rows[4]["ms_per_image"] == pytest.approx(30 / 32)
    assert one.rows[0]["runs"] == peers.ROUNDS[1] * int(peers.BURST_S * 1e3 / 10)
    bursts = [name for do, name in tools.log if do == "burst"]
    rounds = [tuple(bursts[at : at + 3]) for at in range(0, 3 * peers.ROUNDS[1], 3)]
    assert all(sorted(turn) == sorted(tools.table) for turn in rounds)
    assert len(set(rounds)) > 1, "the turns are shuffled"
    do = [word for word, _ in tools.log]
    assert max(at for at, word in enumerate(do[: do.index("burst")]) if word == "load") < do.index("burst")
    head, lines = peer_tables.summary(one.rows)
    assert head == ["class", "engine", "torchvision, batch 1", "torchvision, batch 32"]
    assert lines[0][2:] == ["**10.0 ms**", "**0.312 ms**"]
    assert lines[1] == ["fp32", "torch", "20.0 ms (channels_last, 2.00)", "0.625 ms (channels_last, 2.00)"]


def test_a_wrong_peer_is_marked_and_not_timed():
    tools = PlayedTools({"fastalex fp32": (10.0, 1), "ncnn fp32": (1.0, 1.01), "onnxruntime": (5.0, np.nan)})
    one, lines = compare(tools, *tools.table)
    assert [row["status"] for row in one.rows] == [records.OK, records.WRONG, records.WRONG]
    assert one.rows[1]["median_ms"] is None
    assert ("burst", "ncnn fp32") not in tools.log
    assert [row["peer"] for row in ranking.ranked(one.rows, ("torchvision", 1, 1), FP32)] == ["fastalex"]
    assert "WRONG" in peer_tables.summary(one.rows)[1][1]
    assert any("not finite" in line for line in lines)
    assert [engine for task, engine in tools.log if task == "cold"] == peers.COLD_REPEATS * ["fastalex fp32"]


@pytest.mark.parametrize(
    ("numeric_class", "factor", "status"),
    [
        ("fp32", 1 + 5e-5, "ok"),
        ("fp32", 1.001, "wrong"),
        ("16-bit", 1.01, "ok"),
        ("16-bit", 1.1, "wrong"),
        ("int8 fc weights", 1.08, "ok"),
        ("int8 fc weights", -1, "wrong"),
        ("int8", 1.08, "ok"),
        ("int8", 1.2, "wrong"),
        ("int4 fc weights", 1.3, "ok"),
    ],
)
def test_what_counts_as_the_same(numeric_class, factor, status):
    expected = LOGITS[[0, 1, 0]]
    assert agreement.agreement(expected * np.float32(factor), expected, numeric_class)["status"] == status
    assert agreement.agreement(expected[:2], expected, numeric_class)["status"] == "wrong"
    assert agreement.agreement(expected[:, ::-1], expected, numeric_class)["status"] == "wrong"


def test_missing_and_broken_peers_leave_blanks():
    table = {"fastalex fp32": (10.0, 1), "ncnn fp32": (9.0, 1), "openvino f32": (8.0, 1), "opencv dnn": (7.0, 1)}
    tools = PlayedTools(table, absent=("ncnn fp32",), broken=("openvino",))
    one, lines = compare(tools, *table, batches=(1, 32))
    assert [row["status"] for row in one.rows[:4]] == ["ok", "missing", "failed", "ok"]
    assert [line.split("  ")[-1] for line in lines if "left blank" in line] == [
        "ncnn fp32 is left blank: a-module is not installed"
    ]
    cells = {line[1]: line[2:] for line in peer_tables.summary(one.rows)[1]}
    assert cells["ncnn"] == cells["openvino"] == ["", ""]
    assert cells["opencv"][0].startswith("**7.00 ms")
    assert peer_tables.notes(one.rows) == [
        "ncnn fp32: a-module is not installed",
        "openvino f32: the conversion for openvino failed: it cannot be converted",
    ]
    assert ("prepare", "ncnn") not in tools.log


def test_an_engine_that_dies_is_a_row():
    class Dying(PlayedTools):
        def start(self, spec):
            played = PlayedEngine(self, spec["engine"])

            def answer(do, **command):
                if do == "burst" and played.name == "torch eager":
                    raise EngineError("it ended or hung: killed")
                return played(do, **command)

            answer.close = played.close
            return answer

    one, _ = compare(Dying({"fastalex fp32": (10.0, 1), "torch eager": (9.0, 1)}), "fastalex fp32", "torch eager")
    assert [(row["status"], row["median_ms"]) for row in one.rows] == [("ok", 10.0), ("failed", None)]


def test_quick_runs_end_in_time():
    clock = Clock()
    names = list(engines.ENGINES)
    tools = PlayedTools(dict.fromkeys(names, (10.0, 1)), clock, step_s=4.0)
    one, _ = compare(tools, *names, quick=True, budget=Budget(200, clock), batches=(1, 32), networks=records.VARIANTS)
    # every step is 4 s here, 13 times too long for all; what a network may overrun is one step of each live engine, and
    # what is done for fastalex in any case: its own files, and the reference
    assert clock.now < 200 + 4 * (len(names) + 2 * (len(OWN_FILES) + 1))
    assert {row["note"] for row in one.rows if row["status"] == "skipped"} == {"the time of a quick run was spent"}
    assert all(row["status"] == "ok" for row in one.rows if row["peer"] == "fastalex")
    assert {row["variant"] for row in one.rows if row["median_ms"]} == set(records.VARIANTS)


def test_budget():
    clock = Clock()
    budget = Budget(10, clock)
    assert budget.share(2).left == 5
    clock.now = 11
    assert budget.spent
    assert budget.share(2).spent
    assert Budget(None, clock).left == float("inf")
    assert not Budget(None, clock).share(3).spent


def test_quick_stops_after_the_time_of_a_case():
    clock = Clock()
    tools = PlayedTools({"fastalex fp32": (50.0, 1)}, clock, step_s=5.0)
    one, _ = compare(tools, "fastalex fp32", quick=True, budget=Budget(10_000, clock))
    assert one.rows[0]["runs"] == 3 * max(peers.QUICK_ROUNDS, -(-int(peers.QUICK_CASE_S) // 5))


def test_every_number_of_threads_has_processes_and_limits_of_its_own():
    tools = PlayedTools({"fastalex fp32": (10.0, 1), "torch eager": (30.0, 1)})
    one, _ = compare(tools, *tools.table, batches=(1, 8), threads=(1, 2))
    started = [what for do, what in tools.log if do == "start"]
    assert started == [(name, n, tuple(range(n))) for n in (1, 2) for name in tools.table]
    assert [(row["threads"], row["batch"]) for row in one.rows] == [
        (n, b) for n in (1, 2) for b in (1, 8) for _ in tools.table
    ]
    assert [task for task, _ in tools.log].count("prepare") == 2, "files are made once"
    probes = [what for do, what in tools.log if do == "limits"]
    assert probes == 6 * [(0,)] + 6 * [(0, 1)], "three for each batch"
    turns = [do for do, _ in tools.log if do in ("limits", "burst", "load")]
    first = turns[: turns.index("load", 3)]  # of the first case, whose two loads come before
    at = [index for index, do in enumerate(first[2:]) if do == "limits"]
    assert at == [0, 1 + 2 * (peers.ROUNDS[1] // 2), 2 + 2 * peers.ROUNDS[1]], "at the start, the middle and the end"
    assert [len(peer_tables.summary([r for r in one.rows if r["threads"] == n])[0]) for n in (1, 2)] == [4, 4]
    assert ranking.counts(one.rows) == [2, 1]


def test_the_floor_of_a_layer_by_hand():
    machine = floors.combine([dict(RATES, fp32=90.0), dict(RATES, fp32=200.0), dict(RATES, read_4k=None), RATES])
    assert machine["gflop_s"]["fp32"] == 100.0, "the median of 90, 100, 100 and 200"
    assert machine["gb_s"] == 20.0, "reading from huge pages is the faster way"
    # 9216 x 4096 weights of a byte at 20e9 bytes a second; as many products, twice as many operations, at 400e9
    fc6 = step("fc6", numeric="int8", products=9216 * 4096, weight_bytes=9216 * 4096)
    one = floors.step_floor_ms(fc6, 1, machine)
    assert (one["read_ms"], one["math_ms"]) == (pytest.approx(1.8874368), pytest.approx(0.18874368))
    assert (one["ms"], one["bound"]) == (one["read_ms"], "read")
    many = floors.step_floor_ms(fc6, 32, machine)
    assert (many["ms"], many["bound"]) == (pytest.approx(32 * 0.18874368), "math"), "the weights are read once a batch"
    conv = step("conv1", products=50_000_000)
    assert floors.floor_ms([conv, {"layers": ["pool1"]}, fc6], ["conv1", "fc6"], 1, machine) == pytest.approx(2.8874368)


def test_what_is_unknown_has_no_floor():
    machine = floors.combine([RATES])
    conv, heavy = step("conv1", products=1), ["conv1"]
    assert floors.floor_ms([conv], heavy, 1, machine) is not None
    assert floors.floor_ms([conv], ["conv1", "fc6"], 1, machine) is None, "a layer is missing"
    assert floors.floor_ms([dict(conv, numeric="bf16")], heavy, 1, machine) is None, "a rate that was not measured"
    for key in ("products", "numeric", "weight_bytes"):
        assert floors.floor_ms([{k: v for k, v in conv.items() if k != key}], heavy, 1, machine) is None
    assert floors.floor_ms(None, heavy, 1, machine) is None
    assert floors.floor_ms([conv], heavy, 1, None) is None
    assert floors.combine([]) is None


def test_percent_of_the_limit_comes_from_the_steps():
    layers = [layer.name for layer in variants.get("torchvision").layers() if layer.param]
    steps = {"fastalex fp32": [step(name, products=100_000_000) for name in layers]}
    table = {"fastalex fp32": (20.0, 1), "fastalex fp32, int8 fc": (10.0, 1), "torch eager": (21.0, 1)}
    tools = PlayedTools(table, steps=steps)
    one, _ = compare(tools, *tools.table)
    assert [row["floor_ms"] for row in one.rows] == [pytest.approx(2.0 * len(layers)), None, None]
    assert one.steps == [{"variant": "torchvision", "batch": 1, "threads": 1, **one.steps[0]}]
    first, second = targets.verdicts(one.rows)
    assert first["percent"] == pytest.approx(80)  # 8 layers of 2 ms in 20
    assert (first["ratio"], first["target"], first["met"]) == (pytest.approx(1.05), 1.2, False)
    assert (second["ratio"], second["percent"], second["met"]) == (None, None, None), "nothing to compare with"


def test_without_a_compiler_the_columns_stay_blank():
    class Blind(PlayedTools):
        def limits(self, cpus, threads, quick):
            self.log.append(("limits", ()))
            raise limits.NoLimitsError("the machine's limits are left blank: there is no C++ compiler")

    tools = Blind({"fastalex fp32": (10.0, 1)})
    one, lines = compare(tools, *tools.table, batches=(1, 32))
    assert (one.limits, one.rows[0]["floor_ms"]) == ([], None)
    assert [do for do, _ in tools.log].count("limits") == 1
    assert len([line for line in lines if "no C++ compiler" in line]) == 1
    assert peers_report.limit_lines({"without_limits": one.without_limits}) == [one.without_limits]


def test_targets():
    assert targets.ratio_target("fp32", "alexnet2012", 1, False) == 1.2
    assert targets.ratio_target("fp32", "torchvision", 32, True) == pytest.approx(1.26)  # 10 % less than 1.4
    assert targets.ratio_target("int8 fc weights", "alexnet2012", 1, False) == 2
    assert targets.ratio_target("int8 fc weights", "torchvision", 1, False) == 1.6
    assert targets.ratio_target("16-bit", "torchvision", 1, False) == 1.3
    assert targets.ratio_target("int8", "alexnet2012", 1, False) == 1.15
    assert targets.ratio_target("int8", "alexnet2012", 8, False) is None
    assert {name for name, _ in targets.RATIOS} == set(CLASSES)


AMX = ["amx_bf16", "amx_int8", "amx_tile", "avx2", "avx512f"]


@pytest.mark.parametrize(
    ("title", "isa", "simd", "kind"),
    [
        ("Intel(R) Xeon(R) Processor", "v4vnni", AMX, targets.AMX),
        ("Intel(R) Xeon(R) Processor", "v4amx", AMX, targets.AMX),
        ("Intel(R) Xeon(R) Processor", "v3", AMX, targets.AVX2),  # held to AVX2, its peers as well
        ("Intel(R) Xeon(R) Processor", "v4vnni", AMX[-2:], targets.INTEL_AVX512),
        ("AMD EPYC 9B14", "v4bf16", AMX[-2:], targets.AMD_AVX512),
        ("AMD EPYC 7B12", "v3", AMX[-2:-1], targets.AVX2),
        ("Intel(R) Core(TM) Ultra 7", "v3vnni", AMX[-2:-1], targets.AVX2),
        ("Old CPU", "v2", [], None),
        ("Cortex-A57", "neon", ["asimd"], None),
    ],
)
def test_the_kind_of_a_machine(title, isa, simd, kind):
    assert targets.kind_of({"title": title, "machine": {"isa": isa, "simd": simd}}) == kind


def rated(title, isa, simd, numeric_class, batch, variant, ratio, density=None):
    """The verdict on one case in which the fastest peer takes ``ratio`` times as long as fastalex."""
    case = {"variant": variant, "batch": batch, "threads": 2, "numeric_class": numeric_class, "status": records.OK}
    rows = [
        dict(case, engine=peer, peer=peer, median_ms=ms, ms_per_image=ms / batch)
        for peer, ms in (("fastalex", 10.0), ("openvino", 10.0 * ratio))
    ]
    record = {"title": title, "machine": {"isa": isa, "simd": simd}, "rows": rows, "density_asked": density}
    (verdict,) = targets_report.verdicts(record)
    assert targets_report.count(record) == f"{int(verdict['met'])} of 1 targets met"
    return verdict["met"]


def test_the_verdict_depends_on_the_kind_of_machine():
    xeon, epyc = ("Intel(R) Xeon(R) Processor", "v4vnni"), ("AMD EPYC", "v4bf16", AMX[-2:])
    assert [rated(*epyc, "16-bit", 32, "torchvision", ratio) for ratio in (0.99, 1.0)] == [False, True]
    assert [rated(*xeon, AMX, "16-bit", 32, "torchvision", ratio) for ratio in (1.0, 1.15)] == [False, True]
    assert [rated(*xeon, AMX, "int8", 32, "alexnet2012", ratio) for ratio in (1.14, 1.15)] == [False, True]
    assert [rated(*xeon, AMX[-2:], "fp32", 32, "torchvision", ratio) for ratio in (1.66, 1.67)] == [False, True]
    assert [rated(*xeon, AMX[-2:], "fp32", 32, "alexnet2012", ratio) for ratio in (1.99, 2.0)] == [False, True]
    assert [rated(*epyc, "fp32", 32, "alexnet2012", ratio) for ratio in (1.39, 1.4)] == [False, True]
    assert [rated("Any", "v3", ["avx2"], "int8", 32, "torchvision", ratio) for ratio in (1.14, 1.15)] == [False, True]
    case = (*xeon, AMX, "int8 fc weights", 1, "torchvision")
    assert [rated(*case, 1.2), rated(*case, 1.34, [0.35] * 3), rated(*case, 1.35, [0.35] * 3)] == [True, False, True]
    assert rated(*case, 1.2, [0.5] * 3) is True


@pytest.mark.parametrize(
    ("ratio", "target", "percent", "met"),
    [
        (1.2, 1.2, None, True),
        (1.19, 1.2, None, False),
        (1.19, 1.2, 85.0, True),
        (0.9, 1.2, 84.9, False),
        (None, 1.2, 90.0, True),
        (None, 1.2, None, None),
        (2.0, None, 99.0, None),
    ],
)
def test_a_target_is_met_by_the_ratio_or_near_the_limit(ratio, target, percent, met):
    assert targets.is_met(ratio, target, percent) is met


def test_the_targets_of_start_and_size_are_held_against_the_figures():
    cold = [{"variant": "torchvision", "engine": "fastalex fp32, int8 fc", "total_ms": 251.0, "peak_rss_mib": 143.0}]
    cold.append(dict(cold[0], engine="fastalex fp32"))
    lines = targets_report.start_and_size({"cold": cold, "packages": {"fastalex": {"without_numpy_mb": 29.0}}})
    assert len(lines) == 2
    assert "251 ms (at most 250): no; peak 143 MiB (at most 143): yes" in lines[0]
    assert lines[1] == "installed without numpy: 29.0 MB (at most 30): yes"


def test_a_quick_run_takes_the_fastest_of_the_committed_results():
    def names(record, threads=1):
        return [engine.name for engine in selection.fastest(record, (1,), (threads,))]

    usual = names(None)
    assert usual[:4] == ["fastalex fp32", "fastalex fp32, int8 fc", "fastalex bf16, int8 fc", "fastalex int8"]
    assert set(usual[4:]) == {name for names in engines.USUALLY_FASTEST.values() for name in names}
    table = {
        "fastalex fp32": (9.0, 1),
        "torch eager": (7.0, 1),
        "onnxruntime": (8.0, 1),
        "onnxruntime static QDQ": (1.0, 1),
    }
    one, _ = compare(PlayedTools(table), *table)
    record = {"rows": one.rows}
    assert names(record, threads=2) == usual, "it has no such rows"
    found = names(record)
    assert "torch eager" in found
    assert not {"onnxruntime", "ncnn fp32", "openvino NNCF PTQ"} & set(found)
    assert {"onnxruntime static QDQ", *engines.USUALLY_FASTEST[FC8]} <= set(found)


def test_quick_runs_keep_their_files(tmp_path):
    table = {"fastalex fp32": (10.0, 1), "openvino f32": (20.0, 1)}
    tools = PlayedTools(table, broken=("openvino",))
    tools.kept = str(tmp_path)
    for _ in range(2):
        compare(tools, *table, quick=True)
    made = [what for task, what in tools.log if task == "prepare"]
    assert made == ["weights", "onnx", "openvino", "openvino"], "what failed is tried again"


def test_the_kept_folder_is_the_users_own(tmp_path, monkeypatch):
    pytest.importorskip("fastalex._core")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = Path(engine_processes.kept_folder("torchvision"))
    assert folder.is_dir()
    assert folder.parent.stat().st_mode & 0o077 == 0
    old = folder.with_name("torchvision-0123")
    old.mkdir()
    assert engine_processes.kept_folder("torchvision") == str(folder)
    assert not old.exists()
    folder.parent.chmod(0o777)
    with pytest.raises(UserError, match="only you"):
        engine_processes.kept_folder("torchvision")


class PlayedNet:
    """Stands in for ``AlexNet`` and remembers how it was made and where it was saved."""

    made: ClassVar[list] = []

    def __init__(self, variant, **options):
        self.options = options
        PlayedNet.made.append(options)

    def save(self, path, fc_weights):
        self.options["saved"] = os.path.basename(path)
        self.options["levels"] = fc_weights


def test_own_files_hold_their_mode(monkeypatch):
    seen = []

    class Quantize:
        @staticmethod
        def calibrate(net, images):
            seen.append((net.options, np.shape(images)))
            return "calibration"

    monkeypatch.setattr(fastalex, "AlexNet", PlayedNet)
    monkeypatch.setattr(fastalex, "quantize", Quantize, raising=False)
    monkeypatch.setattr(PlayedNet, "made", [])
    spec = {"variant": "torchvision", "folder": "f", "threads": 2, "shape": [3, 4, 5]}
    conversions.CONVERSIONS["any-int4.safetensors"](spec)
    assert not seen, "only activations need calibration"
    assert [PlayedNet.made[0][key] for key in ("fc_weights", "saved")] == ["int4", "any-int4.safetensors"]
    assert PlayedNet.made[0]["levels"] == "int4"
    assert "precision" not in PlayedNet.made[0]
    conversions.CONVERSIONS["int8-int8.safetensors"](spec)
    assert seen[0][0]["weights"] == os.path.join("f", engine_files.WEIGHTS)
    assert seen[0][1] == (1, conversions.CALIBRATION_IMAGES, 3, 4, 5), "one batch"
    keys = ("precision", "fc_weights", "calibration", "saved")
    assert [PlayedNet.made[-1][key] for key in keys] == ["int8", "int8", "calibration", "int8-int8.safetensors"]
    for mode, name in (
        ("fastalex int8", "int8-int8"),
        ("fastalex bf16, int8 fc", "any-int8"),
        ("fastalex bf16", "weights"),
    ):
        engine = engines.ENGINES[mode]
        engine.make(spec, **engine.options).load(1)
        assert PlayedNet.made[-1]["weights"] == os.path.join("f", name + ".safetensors")
        assert PlayedNet.made[-1]["precision"] == mode.split()[1].rstrip(",")
    layer_times.network(dict(spec, precision="int8", fc_weights="int4"))
    assert [PlayedNet.made[-1][key] for key in keys[:3]] == ["int8", "int4", "calibration"]


def test_steps_are_what_the_engine_tells():
    class Told:
        def kernels(self, batch):
            return {"steps": [dict(step("conv1", products=batch), candidate="x"), {"layers": ["pool1"]}]}

    class Silent:
        def kernels(self, batch):
            raise UserError("the cpu backend does not describe its plans")

    assert runtimes.steps_of(Told(), 3) == [step("conv1", products=3), {"layers": ["pool1"]}]
    assert runtimes.steps_of(Silent(), 3) is None


@pytest.mark.slow
def test_the_limits_program_measures_this_machine(tmp_path):
    program = limits.compile_program(str(tmp_path))
    cpus = timing.available_cpus()[:2]
    found = {}
    for threads in (1, len(cpus)):
        found[threads] = limits.measure(program, cpus, threads, True)
        assert set(found[threads]) == {*floors.SUPPORTED, *floors.READS}
        assert min(value for value in found[threads].values() if value is not None) > 0
        assert found[threads]["fp32"] > 0.5 and found[threads]["read_4k"] > 0.1
        assert found[threads]["fp32"] < 1e4 and found[threads]["read_4k"] < 1e4
    assert found[len(cpus)]["fp32"] >= 0.6 * found[1]["fp32"]  # other processes may hold one of the CPUs
    assert set(limits.measure(program, [], 1, True)) == set(found[1]), "not pinned"
    for words in (["0", "0", "1"], ["a", "1", "1"], ["0"]):
        assert subprocess.run([program, *words], capture_output=True).returncode == 2


def test_no_compiler_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(limits.NoLimitsError, match="there is no C\\+\\+ compiler"):
        limits.compile_program(str(tmp_path))
    monkeypatch.setenv("CXX", os.path.join(str(tmp_path), "none"))
    with pytest.raises(limits.NoLimitsError, match="none"):
        limits.compile_program(str(tmp_path))


def example(**changes):
    """A record of a comparison of played engines."""
    table = {"fastalex fp32": (10.0, 1), "fastalex fp32, int8 fc": (6.0, 1)}
    table.update({"torch eager": (30.0, 1), "ncnn fp32": (5.0, 2)})
    one, _ = compare(PlayedTools(table), *table)
    state = {"governor": "schedutil", "clock_mhz": 1479.0, "clocks_held": True, "nvpmodel": "0 MAXN"}
    machine = {"os": "Linux", "threads": 2, "pinned_cpus": "0, 1", "isa": "v3", "state": state}
    versions = {"fastalex": "0", "python": "3", "numpy": "1", "build": {"compiler": "gcc"}}
    record = {"device": "peers", "title": "Some CPU", "quick": False, "date": "2024-01-01", "rows": one.rows}
    packages = {"torch": {"version": "2.1", "installed_mb": 800.0}, "ncnn": {"version": None, "installed_mb": None}}
    record.update(schema=2, limits=one.limits, steps=one.steps, without_limits=one.without_limits)
    return dict(record, machine=machine, versions=versions, cold=one.cold, packages=packages, **changes)


def test_the_report_has_the_comparison():
    section = compose.page([example()]).split("\n## Peers, measured: Some CPU\n")[1].split("\n## ")[0]
    assert "governor schedutil; 1479 MHz at the start; clocks held; nvpmodel 0 MAXN." in section
    assert "| fp32 | torch | 30.0 ms (eager, 3.00) |" in section
    assert "| fp32 | ncnn | WRONG |" in section
    assert "| torch | 2.1 | 800 |  |" in section
    assert "| ncnn |  |  |  |" in section
    assert "| fp32 | torchvision | 1 | 1 | 10.0 | torch eager | 30.0 | 3.00 | 1.20 |  | yes |" in section
    assert "- 1 of 1 targets met" in section
    assert (
        "- 1 thread: limits: fp32 100, int8 400 Gop/s; read 10.0 from 4 KiB pages, 20.0 from huge pages GB/s" in section
    )
    assert "- ncnn fp32: relative error 1, cosine 1.0000" in section
    assert "(../charts/some-v3.svg)" in section
    assert "mJ/image" not in section
    text = summary.render([example()])
    assert "Nothing is measured yet." in text, "a peer is no figure of ours"
    assert "| fp32 |  |  | 3.00 (torch eager) |  |" in text
    assert "the same CPUs (threads: 1). 1 of 1 targets met; [every engine](results/some-v3.md)." in text


def test_the_report_states_the_density():
    tools = PlayedTools({"fastalex fp32": (10.0, 1), "torch eager": (30.0, 1)})
    tools.shares = {"fc6": 0.35, "fc7": 0.3512, "fc8": 0.375}
    one, _ = compare(tools, *tools.table, batches=(1, 8))
    without = example()
    record = dict(without, density=one.densities)
    line = "torchvision, inputs of fc6, fc7, fc8 that are not zero: 0.350, 0.351, 0.375 (batch 1); "
    line += "0.350, 0.351, 0.375 (batch 8)\n"
    assert "- " + line in peers_report.section(record)
    assert line in peers_report.quick(record)
    assert "\nkind of machine: AVX2\n" in peers_report.quick(record)
    assert "shifted" not in peers_report.quick(record)
    asked = dict(record, density_asked=[0.35, 0.35, 0.375])
    assert "weights were shifted until batch 1 had 0.35, 0.35, 0.375\n" in peers_report.quick(asked)
    said = "Inputs of fc6, fc7, fc8 that are not zero at batch 1: torchvision 0.35, 0.35, 0.38.\n\n| class |"
    assert said in summary.render([record])
    for text in (peers_report.section(without), peers_report.quick(without), summary.render([without])):
        assert "not zero" not in text, "a record from before they were counted"


def test_the_peers_have_weights_of_the_density_that_was_asked_for(tmp_path):
    row = variants.get("torchvision", widths=(8, 16, 12, 12, 16, 240, 200), num_classes=7)
    spec = {"variant": row, "folder": str(tmp_path), "threads": 1, "shape": [3, 224, 224], "batches": [1, 2]}
    conversions.write_weights(dict(spec, density=(0.35, 0.5, 0.25)))
    first, second = worker.densities(spec)
    assert {name: first[name] for name in ("fc6", "fc7", "fc8")} == pytest.approx(
        {"fc6": 0.35, "fc7": 0.5, "fc8": 0.25}, abs=0.005
    )
    assert (first["batch"], second["batch"], first["variant"]) == (1, 2, "torchvision")
    shifted = (tmp_path / engine_files.WEIGHTS).read_bytes()
    conversions.write_weights(dict(spec, density=None))
    assert (tmp_path / engine_files.WEIGHTS).read_bytes() != shifted


def test_a_quick_run_keeps_no_files_of_other_weights(tmp_path):
    tools = PlayedTools({"fastalex fp32": (10.0, 1)})
    tools.kept = str(tmp_path)
    one = peers.Comparison(chosen("fastalex fp32"), [0], [1], True, tools, density=(0.35, 0.35, 0.35))
    one.run(["torchvision"], [1])
    assert not list(tmp_path.iterdir())


def test_energy_is_shown_where_it_was_metered():
    record = example()
    record["rows"][0].update(peers.figures([10.0, 10.0], [4.0, 6.0], 2))
    assert record["rows"][0]["mj_per_image"] == pytest.approx(25)  # 5 W for 5 ms
    head, lines = peer_tables.details(record["rows"])
    assert head[:3] == ["engine", "class", "threads 1, batch 1"]
    assert lines[0][2] == "10.0 (10.0 to 10.0), 25.0 mJ"
    assert [line[2] for line in lines[1:]] == ["6.00 (6.00 to 6.00)", "30.0 (30.0 to 30.0)", "WRONG"]


def test_records_are_checked(tmp_path):
    folder = tmp_path / "peers"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(example()))
    assert records.load(tmp_path)[0]["device"] == "peers"
    record = dict(example(), rows=[{"variant": "torchvision"}])
    (folder / "a.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="it has no batch"):
        records.load(tmp_path)


@pytest.mark.slow
def test_charts_are_deterministic(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    record = example()
    assert charts.write([record], tmp_path) == ""
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(first) == ["some-v3-batch-1.svg", "some-v3.svg"]
    assert first == charts.drawn(record)
    assert b"<dc:date>" not in first["some-v3.svg"]
    shown = [row["engine"] for row in charts.bars(record["rows"], ("torchvision", 1, 1))]
    assert shown == ["fastalex fp32, int8 fc", "fastalex fp32", "torch eager"]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "matplotlib" in charts.write([record], tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_committed_charts_are_what_the_results_generate():
    matplotlib = pytest.importorskip("matplotlib")
    for record in records.load():
        if record["device"] == records.PEERS:
            for name, data in charts.drawn(record).items():
                written = (charts.FOLDER / name).read_bytes()
                if (f"Matplotlib v{matplotlib.__version__},").encode() in written:
                    assert written == data, "run: python benchmarks/run.py report"


def put(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_ina3221_of_jetpack_4(tmp_path):
    folder = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/"
    rails = {"rail_name_0": "POM_5V_IN\n", "in_power0_input": "2750\n", "rail_name_1": "POM_5V_GPU\n"}
    put(tmp_path, {folder + name: text for name, text in dict(rails, in_power1_input="120", rail_name_2="NC").items()})
    assert power.rails(tmp_path) == {"POM_5V_IN": pytest.approx(2.75), "POM_5V_GPU": pytest.approx(0.12)}
    assert power.board_watts(tmp_path) == pytest.approx(2.75)


def test_ina3221_of_jetpack_5_and_6(tmp_path):
    folder = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/"
    files = {"in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "1200", "in2_label": "VDD_SOC"}
    files.update(in7_label="sum of shunt voltages", in7_input="9", in3_label="X", in3_input="1000", curr3_input="bad")
    put(tmp_path, {folder + name: text for name, text in files.items()})
    assert power.rails(tmp_path) == {"VDD_IN": pytest.approx(6.0)}
    assert power.board_watts(tmp_path) == pytest.approx(6.0)


def test_no_meter_is_no_figure(tmp_path):
    assert power.rails(tmp_path) == {}
    assert power.board_watts(tmp_path) is None
    with power.Meter(lambda: None) as meter:
        pass
    assert meter.mean is None
    watts = iter([1.0, 2.0] + 100_000 * [2.0])
    with power.Meter(lambda: next(watts)) as meter:
        pass
    assert meter.mean == pytest.approx(2.0)  # the first reading only asks whether there is a meter


@pytest.mark.parametrize(
    ("said", "watts"),
    [
        ("Some GPU, 31.52, 1350, 9501, 550.1\n", 31.52),
        ("Some GPU, [N/A], 1350, [N/A], 550.1", None),
        ("", None),
        ("No devices were found", None),
    ],
)
def test_nvidia_smi_is_parsed(said, watts):
    assert power.gpu_watts(lambda command: said) == watts
    if said.startswith("Some"):
        assert power.gpu(lambda command: said)["sm_mhz"] == 1350


def test_nvidia_smi_that_fails_is_no_gpu():
    def fail(command):
        raise FileNotFoundError(command[0])

    assert power.gpu(fail) is None


def test_state_of_a_jetson(tmp_path):
    for cpu, low in ((0, 1479000), (1, 102000)):
        folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq/"
        files = {"scaling_governor": "schedutil", "scaling_cur_freq": "1479000", "scaling_min_freq": str(low)}
        put(tmp_path, {folder + name: text for name, text in dict(files, scaling_max_freq="1479000").items()})
    put(tmp_path, {"var/lib/nvpmodel/status": "pmode:0001 fmode:quiet\n"})
    put(tmp_path, {"etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=5W >\n"})
    found = power.state([0], tmp_path)
    assert found == {"governor": "schedutil", "clock_mhz": 1479.0, "nvpmodel": "1 5W", "clocks_held": True}
    assert power.state([0, 1], tmp_path)["clocks_held"] is False
    (tmp_path / "etc/nvpmodel.conf").unlink()
    assert power.nvpmodel(tmp_path) == "1"


def test_state_of_nothing(tmp_path):
    assert set(power.state([0, 7], tmp_path).values()) == {None}
    put(tmp_path, {"proc/cpuinfo": "cpu MHz\t\t: 2400.5\ncpu MHz\t\t: 2600.5\n"})
    assert power.state([0, 1], tmp_path)["clock_mhz"] == pytest.approx(2500.5)
    (tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_label").mkdir(parents=True)
    assert power.rails(tmp_path) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("peers", "onnxruntim"), "did you mean 'onnxruntime'"),
        (("peers", "--layers"), "peers does not take '--layers'"),
        (("peers", "--threads", "0"), "--threads"),
        (("layers", "--threads", "100000"), "--threads"),
        (("peers", "--batches", "-1"), "--batches"),
        (("peers", "--fc-weights", "int8"), "peers does not take '--fc-weights"),
        (("peers", "--precisions", "int8"), "peers does not take '--precisions"),
        (("layers", "--precisions", "bf16", "--fc-weights", "int4"), "no such precision"),
        (("peers", "--variants", "torchvison"), "did you mean"),
        (("layers", "--predict"), "layers does not take '--predict'"),
        (("peers", "--cold", "--quick"), "one of --cold and --quick"),
        (("peers", "--cold", "--density", "0.35"), "one of --cold and --density"),
        (("peers", "--density", "0.35"), "--density needs --output"),
        (("peers", "--density", "35", "--no-write"), "above 0 and at most 1"),
        (("zeros", "--density", "0"), "above 0 and at most 1"),
        (("zeros", "--against", "/nowhere"), "no package fastalex"),
        (("zeros", "--fc-weights", "int3"), "invalid choice: 'int3'"),
    ],
)
def test_mistakes_exit_2(words, said, capsys):
    assert main.main(list(words)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_peers_are_written_where_the_options_say(tmp_path, monkeypatch, capsys):
    tools = PlayedTools(dict.fromkeys(engines.ENGINES, (10.0, 1)))
    monkeypatch.setattr(peers_command, "run", lambda options, run=peers_command.run: run(options, tools))
    path = tmp_path / "out.json"
    words = ["peers", "torch", "--variants", "torchvision", "--batches", "1", "--threads", "1"]
    tools.shares = {"fc6": 0.5, "fc7": 0.5, "fc8": 0.5}
    assert main.main([*words, "--output", str(path), "--density", "0.5"]) == 0
    record = json.loads(path.read_text())
    assert record["density"] == [{"variant": "torchvision", "batch": 1, "fc6": 0.5, "fc7": 0.5, "fc8": 0.5}]
    assert record["density_asked"] == [0.5, 0.5, 0.5]
    assert record["device"] == "peers"
    assert {row["peer"] for row in record["rows"]} == {"fastalex", "torch"}
    assert set(record["packages"]) == {"fastalex", "torch"}
    assert record["schema"] == 2
    assert record["machine"]["thread_counts"] == [1]
    assert record["limits"][0]["gflop_s"] == {"fp32": 100.0, "bf16": None, "int8": 400.0}
    assert set(record["rows"][0]["state"]) == {"governor", "clock_mhz", "nvpmodel", "clocks_held"}
    assert set(records.PEER_KEYS) <= set(record["rows"][0])
    assert "10.0 ms (eager, 1.00)" in capsys.readouterr().out
    tools.table["fastalex fp32"] = (10.0, 2)
    path.unlink()
    assert main.main([*words, "--output", str(path)]) == 1
    assert "relative error" in capsys.readouterr().err
    assert not path.exists()


def test_cold_processes_are_measured_again_alone(tmp_path, monkeypatch):
    table = {"fastalex fp32": (10.0, 1), "torch eager": (30.0, 1)}
    record = example()
    record["cold"] = [{"variant": "torchvision", "engine": name, "repeats": 3, "total_ms": 99.0} for name in table]
    monkeypatch.setattr(peers_command, "committed", lambda: record)
    tools = PlayedTools(dict.fromkeys(engines.ENGINES, (10.0, 1)))
    monkeypatch.setattr(peers_command, "run", lambda options, run=peers_command.run: run(options, tools))
    path = tmp_path / "out.json"
    words = ["peers", "--cold", "--variants", "torchvision", "--threads", "1", "--output", str(path)]
    assert main.main(words) == 0
    written = json.loads(path.read_text())
    assert [row["total_ms"] for row in written["cold"]] == [1.0, 99.0], "the peers' stay"
    assert len(written["rows"]) == len(record["rows"])
    assert "cold_commit" in written
    assert "fastalex's again at commit" in peers_report.section(written)
    assert {task for task, _ in tools.log} == {"prepare", "cold"}
    monkeypatch.setattr(peers_command, "committed", lambda: None)
    assert main.main(words) == 2


def test_size_counts_what_is_required():
    alone = sum(Path(str(file.locate())).stat().st_size for file in metadata.files("numpy") if file.locate().exists())
    assert packages.installed_mb(["numpy"]) == pytest.approx(alone / 1e6, rel=1e-6)
    assert packages.installed_mb(["no-such-package"]) is None
    assert packages.installed_mb(["numpy"], without=["numpy"]) == 0
    if packages.installed_mb(["fastalex"]) is not None:
        assert packages.installed_mb(["no-such-package", "fastalex"]) > alone / 1e6


def test_conversions_come_in_order():
    assert conversions.conversions(chosen("ncnn fp32")) == ["weights", "torch", "ncnn"]
    assert conversions.conversions(chosen("openvino f32")) == ["weights", "onnx", "openvino"]
    assert conversions.conversions(chosen("openvino NNCF PTQ")) == ["weights", "onnx", "openvino", "openvino int8"]
    assert conversions.conversions(chosen("fastalex bf16, int8 fc", "fastalex int8")) == [
        "weights",
        "any-int8.safetensors",
        "int8-int8.safetensors",
    ]
    assert conversions.conversions(chosen("fastalex fp32")) == ["weights"]


def test_onnx_graph_refuses_with_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"pip install 'fastalex\[onnx\]'"):
        onnx_export.graph_of(variants.get("torchvision"), {})


# Those that the test extra installs, of every conversion that they have.
@pytest.mark.parametrize(
    "name",
    ["onnxruntime", "onnxruntime dynamic int8 fc", "onnxruntime static QDQ", "opencv dnn", "fastalex fp32, int8 fc"],
)
@pytest.mark.parametrize("variant", ["alexnet2012", "torchvision"])
def test_real_peers_agree_at_small_widths(name, variant, tmp_path):
    engine = engines.ENGINES[name]
    absent = engines.missing_module(engine)
    if absent:
        pytest.skip(f"{absent} is not installed")
    row = variants.get(variant, **NARROW)
    spec = {"variant": row, "folder": str(tmp_path), "threads": 1, "shape": [3, row.input_size, row.input_size]}
    for conversion in conversions.conversions([engine]):
        conversions.CONVERSIONS[conversion](spec)
    net = engine.make(spec, **engine.options)
    net.load(2)  # a file serves every batch
    net.load(3)
    x = np.random.default_rng(3).standard_normal((3, 3, row.input_size, row.input_size), np.float32)
    expected = AlexNet(row, weights=initial.random_weights(row), device="naive")(x)
    assert agreement.agreement(net.run(x), expected, worker.numeric_class(engine, net))["status"] == records.OK


@pytest.mark.slow
def test_a_worker_serves_an_engine(tmp_path):
    """A whole network, small: its files, the reference, two batches, a burst, an error, and a cold start."""
    pytest.importorskip("fastalex._core")
    size = variants.get("alexnet-digits").input_size
    spec = {"variant": "alexnet-digits", "shape": [3, size, size], "folder": str(tmp_path), "threads": 1, "cpus": []}
    spec.update(path=str(tmp_path / "reference.npy"), engine="fastalex fp32, int8 fc")
    tools = engine_processes.Tools()
    for conversion in conversions.conversions(chosen(spec["engine"])):
        tools.once("prepare", dict(spec, conversion=conversion), 60)
    tools.once("reference", spec, 60)
    process = tools.start(spec)
    path = str(tmp_path / "result.npy")
    for batch in (1, 3):
        answer = process(do="load", batch=batch, path=path)
        expected = tools.result(spec["path"])[[0, 1 if batch > 2 else 0, 0]]
        assert agreement.agreement(tools.result(path), expected, answer["numeric_class"])["status"] == records.OK
    assert len(process(do="burst", calls=4)["times_ms"]) == 4
    with pytest.raises(EngineError, match="FileNotFoundError"):
        process(do="load", batch=1, path=str(tmp_path / "none" / "y.npy"))
    process.process.kill()
    with pytest.raises(EngineError, match="ended or hung"):
        process(do="burst", calls=1)
    process.close()
    cold = tools.once("cold", spec, 60)
    assert cold["total_ms"] >= cold["import_ms"] + cold["load_ms"] + cold["first_run_ms"] > 0
    with pytest.raises(EngineError, match="KeyError"):
        tools.once("prepare", dict(spec, conversion="none"), 60)
    with pytest.raises(EngineError, match="more than"):
        tools.once("reference", spec, 0.01)


def test_layer_times_are_medians_with_activations_in_their_layer():
    row = variants.get("alexnet-digits")
    owners = layer_times.groups(row.layers())
    assert owners["conv1"] == owners["relu1"] == "conv1"
    assert owners["pool5"] == "pool5"
    assert owners["relu6"] == owners["drop6"] == "fc6"
    runs = iter([[("relu1", 9.0)]] * 2 + [[("conv1", 1e-3), ("relu1", ms * 1e-3), ("pool1", 5e-3)] for ms in (1, 8, 2)])
    times = layer_times.medians(lambda: next(runs), owners, 3)
    assert times == pytest.approx({"conv1": 3.0, "pool1": 5.0})

    layers = [layer for layer in row.layers() if layer.name in ("conv1", "pool1", "fc6")]
    spec = {"batch": 2, "limits": floors.combine([RATES])}
    times = {"conv1": 2.0, "pool1": 0.1, "fc6": 10.0}
    steps = [step("conv1", "relu1", products=25_000_000, weight_bytes=1000, format="winograd 4x3")]
    steps += [{"layers": ["pool1"]}, step("fc6", products=1000, numeric="int8", weight_bytes=40_000_000)]
    conv, pool, fc = layer_times.table_rows(layers, times, steps, spec)
    assert conv["gflop_s"] == pytest.approx(2 * layers[0].macs * 2 / 2.0 / 1e6)  # as if it were direct
    assert (conv["bound"], conv["format"]) == ("fp32", "winograd 4x3")
    assert conv["percent"] == pytest.approx(50)  # 25e6 products x 2 images x 2 operations at 100e9 a second: 1 of 2 ms
    assert (pool["gflop_s"], pool["percent"]) == (None, None)
    assert fc["gb_s"] == pytest.approx(4)
    assert fc["bound"] == "read"
    assert fc["percent"] == pytest.approx(20)  # 40e6 bytes at 20e9 a second: 2 of 10 ms
    unknown = layer_times.table_rows(layers, times, [], dict(spec, limits=None))
    assert [line["percent"] for line in unknown] == [None] * 3


def test_layers_of_the_small_network(tmp_path, capsys, monkeypatch):
    pytest.importorskip("fastalex._core")
    path = tmp_path / "layers.json"
    monkeypatch.setattr(engine_processes.Tools, "limits", lambda self, cpus, threads, quick: dict(RATES))
    words = ["layers", "--quick", "--variants", "alexnet-digits", "--batches", "1", "--threads", "1"]
    assert main.main([*words, "--precisions", "fp32", "--fc-weights", "int8", "--output", str(path)]) == 0
    record = json.loads(path.read_text())
    row = record["rows"][0]
    assert record["device"] == "layers"
    assert sum(layer["ms"] for layer in row["layers"]) == pytest.approx(row["total_ms"])
    assert [layer["layer"] for layer in row["layers"]][-3:] == ["fc6", "fc7", "fc8"]
    assert row["limits"]["gb_s"] == 20
    assert [row[key] for key in ("precision", "fc_weights", "threads")] == ["fp32", "int8", 1]
    assert "alexnet-digits, batch 1, threads 1, fp32, int8 fc" in capsys.readouterr().out
    text = compose.page([record])
    assert "\n## Layers of fastalex, measured: " in text
    assert "| total | " in text


def test_requirements_name_every_peer():
    text = (BENCHMARKS / "requirements.txt").read_text(encoding="utf-8")
    named = {line.split(">")[0] for line in text.splitlines() if line and not line.startswith("#")}
    for engine in engines.ENGINES.values():
        assert engine.peer == "fastalex" or named & set(engine.distributions), engine.name


def test_help_names_the_peers():
    done = subprocess.run([sys.executable, str(BENCHMARKS / "run.py"), "peers", "--help"], capture_output=True)
    said = " ".join(done.stdout.decode().split())
    assert "torch, onnxruntime, openvino, opencv, ncnn" in said
