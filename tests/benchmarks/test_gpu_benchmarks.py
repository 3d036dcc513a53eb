"""The benchmark on a GPU: its clocks and tables, and all of it on the emulated backend, without PyTorch's part."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest

from cuda_emulator import emulated
from fastalex import variants
from fastalex.errors import UserError
from fastalex.hardware import devices
from fastalex.runtime import device_spec

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are only in a source checkout", allow_module_level=True)

from benchmarks import records  # noqa: E402
from benchmarks.commands import gpu as gpu_command  # noqa: E402
from benchmarks.commands import main  # noqa: E402
from benchmarks.measure import (  # noqa: E402
    conversions,
    engine_processes,
    gpu_clock,
    gpu_engines,
    gpu_worker,
    machine,
    power,
    processes,
    timing,
    worker,
)
from benchmarks.measure import gpu as gpu_run  # noqa: E402
from benchmarks.measure.errors import ChildError, WrongResultError  # noqa: E402
from benchmarks.numeric_classes import GPU_CLASSES  # noqa: E402
from benchmarks.report import gpu as gpu_table  # noqa: E402

PEAKS = {"gb_s": 4000.0, "fp32_tflops": 50.0, "fp16_tflops": 700.0}
SMI = "NVIDIA H200, P0, Enabled, 1980, 3201, 1980, 3201, 120.5, 700.00, 31, 575.57.08, 96.00"


def place():
    with emulated.pretend("sm=90,sms=132,name=NVIDIA H200,memory_bytes=151397597184,l2_bytes=52428800"):
        return gpu_run.find("h200", "emulated")


# Clocks -----------------------------------------------------------------------------------------------------------


class PlayedTorch:
    """The calls of torch.cuda that the event clock makes, on a clock of its own: a call takes 2 ms, cold ones 3."""

    float32, float16, uint8 = "float32", "float16", "uint8"

    def __init__(self):
        self.now, self.flushes, self.log = 0.0, 0, []
        torch = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                self.at = torch.now

            def elapsed_time(self, other):
                return other.at - self.at

        class Buffer:
            def zero_(self):
                torch.flushes += 1
                torch.now += 50.0
                torch.cold = True

        self.cold = False
        self.buffer = Buffer()
        stream = types.SimpleNamespace(cuda_stream=9)
        self.cuda = types.SimpleNamespace(
            Event=Event, synchronize=self.log.append, current_stream=lambda device: stream, is_available=lambda: True
        )

    def empty(self, count, dtype, device):
        self.size = count
        return self.buffer

    def call(self):
        self.now += 3.0 if self.cold else 2.0
        self.cold = False


def test_events_stand_around_each_call_and_the_flush_outside():
    torch = PlayedTorch()
    clock = gpu_clock.EventClock(torch, "cuda:0", 1000)
    assert (clock.stream, torch.size) == (9, 2000)
    assert clock.times(torch.call, 3, cold=False) == [2.0] * 3
    assert clock.times(torch.call, 2, cold=True) == [3.0] * 2
    assert torch.flushes == 2
    assert torch.log == ["cuda:0"] * 2  # it waits once for all of them


def test_the_host_clock_waits_around_each_call():
    now, log = [0.0], []
    clock = gpu_clock.HostClock(lambda: log.append("wait"), lambda: log.append("flush"), lambda: now[0])

    def call():
        log.append("call")
        now[0] += 0.002

    assert clock.times(call, 1, cold=True) == pytest.approx([2.0])
    assert log == ["flush", "wait", "call", "wait"]
    assert len(gpu_clock.measure(clock, call, seconds=0.101, least=3, cold=False)) == 50
    assert len(gpu_clock.measure(clock, call, seconds=0.0, least=3, cold=False)) == 3
    assert gpu_clock.latency(clock, call, 3, now=lambda: now[0]) == pytest.approx(2.0)


def test_without_torch_there_are_no_ceilings(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert gpu_clock.torch_reason() == "torch is not installed"
    assert gpu_clock.peaks("cuda:0") is None
    assert gpu_worker.peaks({"torch_device": "cuda:0"})["peaks"] is None
    blind = types.SimpleNamespace(__version__="2", cuda=types.SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", blind)
    assert gpu_clock.torch_reason() == "torch 2 sees no GPU"


def test_nvidia_smi_is_read():
    found = gpu_run.smi(0, lambda command: SMI + "\n")
    assert (found["clocks.sm"], found["driver_version"]) == ("1980", "575.57.08")
    assert gpu_run.smi(0, lambda command: "no devices") is None

    def missing(command):
        raise FileNotFoundError(2, "no nvidia-smi")

    assert gpu_run.smi(0, missing) is None
    assert power.gpu(lambda command: "") is None


# Engines and rows -------------------------------------------------------------------------------------------------


def test_which_engines_are_measured():
    own = [engine.name for engine in gpu_engines.chosen(None, "torch is not installed")]
    assert own == ["fastalex fp32", "fastalex fp16", "fastalex fp16, int8 fc", "fastalex fp16, int4 fc"]
    both = gpu_engines.chosen(["int8"], "")
    assert [engine.name for engine in both] == [
        "fastalex fp16, int8 fc",
        "torch eager fp32",
        "torch eager fp16",
        "torch compile fp16",
    ]
    assert {engine.numeric_class for engine in gpu_engines.ENGINES.values()} == set(GPU_CLASSES)
    # named ones, in their order; what cannot be had is left out
    wanted = ["fastalex fp16", "torch compile fp16", "fastalex fp32"]
    assert [engine.name for engine in gpu_engines.chosen(None, "", wanted)] == wanted
    assert [engine.name for engine in gpu_engines.chosen(None, "no torch", wanted)] == [
        "fastalex fp16",
        "fastalex fp32",
    ]


@pytest.mark.emulator
def test_engines_that_cannot_be_had_are_one_sentence():
    options = main.parse(["--device", "h200", "--engines", "torch compile fp16", "--no-write"])
    tools = {"child": PlayedChild(peaks=None), "tools": PlayedTools()}
    with emulated.pretend("h200"), pytest.raises(UserError, match="none of these engines can be measured: no torch"):
        gpu_command.run(options, "emulated", **tools)


def test_pytorch_is_run_at_its_best(tmp_path):
    """On the CPU: what the engine makes of the model and the images; torch.cuda is not asked."""
    torch = pytest.importorskip("torch")
    row = "alexnet-digits"
    spec = {"variant": row, "folder": str(tmp_path), "torch_device": "cpu", "shape": [3, 131, 131]}
    conversions.write_weights(spec)
    conversions.write_torch(spec)
    net = gpu_engines.Torch(spec, "fp32", False)
    images = timing.random_images(spec["shape"], 2)
    net.load(images)
    net.call()
    assert net.x.is_contiguous(memory_format=torch.channels_last)
    assert torch.backends.cudnn.benchmark
    assert not torch.backends.cuda.matmul.allow_tf32
    spec["path"] = str(tmp_path / "reference.npy")
    worker.reference(spec)
    found = gpu_worker.correctness(gpu_engines.ENGINES["torch eager fp32"], net, spec, np.load(spec["path"]))
    assert found["ok"], found


class PlayedChild:
    """Stands in for the measuring processes."""

    def __init__(self, peaks=PEAKS, broken=(), wrong=()):
        self.peaks, self.broken, self.wrong, self.asked = peaks, broken, wrong, []

    def __call__(self, task, spec):
        self.asked.append((task, spec.get("engine"), spec.get("variant")))
        if task == "peaks":
            versions = {"torch": "2.9", "cuda": "12.8", "cudnn": 91002}
            return {"peaks": self.peaks, "reason": "" if self.peaks else "no torch", "versions": versions}
        if spec["engine"] in self.broken:
            raise ChildError("out of memory")
        own = spec["engine"].startswith("fastalex")
        rows = []
        for batch in spec["batches"]:
            row = dict(timing.summarize([0.1, 0.2, 0.3], batch), batch=batch, latency_ms=0.4, clock=gpu_clock.EVENTS)
            row["l2_cold"] = timing.summarize([0.5], batch)
            row["layers"] = {"conv1": 0.05, "fc6": 0.1, "pool1": 0.01} if own else None
            ok = spec["engine"] not in self.wrong
            row["correctness"] = {"ok": ok, "max_abs_diff": 1e-5, "tolerance": 1e-4, "max_abs_reference": 1.0}
            rows.append(row)
        return {"rows": rows, "tuning": "devices/h200.toml" if own else None}


class PlayedTools(engine_processes.Tools):
    def __init__(self):
        self.log = []

    def once(self, task, spec, timeout):
        self.log.append((task, spec.get("conversion")))
        return {}


def measured(**options):
    child, tools = PlayedChild(**options), PlayedTools()
    one = gpu_run.Measurement(place(), True, None, child, tools)
    one.run(["alexnet2012"], [1, 8])
    return one, child, tools


@pytest.mark.emulator
def test_every_engine_has_a_process_and_a_row_for_each_batch():
    one, child, tools = measured()
    assert tools.log == [("prepare", "weights"), ("prepare", "torch"), ("reference", None)]
    # A compiled engine has a process for each batch; fastalex is measured before PyTorch, on every network.
    assert [asked[1] for asked in child.asked] == [None, *gpu_engines.ENGINES, "torch compile fp16"]
    assert len(one.rows) == 2 * len(gpu_engines.ENGINES)
    assert one.base["l2_bytes"] == 51200 << 10
    assert not one.wrong()
    assert one.tuning["fastalex fp32"] == "devices/h200.toml"
    _, child, tools = measured(peaks=None)
    assert [asked[1] for asked in child.asked[1:]] == [e for e in gpu_engines.ENGINES if e.startswith("fastalex")]
    assert ("prepare", "torch") not in tools.log


@pytest.mark.emulator
def test_what_matters_most_is_measured_first_and_kept_at_once():
    child, seen = PlayedChild(), []
    one = gpu_run.Measurement(place(), True, None, child, PlayedTools())
    one.run(["alexnet2012", "torchvision"], [1, 8], lambda measurement: seen.append(len(measurement.rows)))
    asked = [(engine, variant) for _, engine, variant in child.asked[1:]]
    assert asked[:3] == [
        ("fastalex fp32", "alexnet2012"),
        ("fastalex fp32", "torchvision"),
        ("fastalex fp16", "alexnet2012"),
    ]
    peers = [engine.startswith("torch") for engine, _ in asked]
    assert peers == sorted(peers)
    assert [engine for engine, _ in asked[-4:]] == ["torch compile fp16"] * 4
    assert seen == [*range(2, 25, 2), 25, 26, 27, 28]


@pytest.mark.emulator
def test_too_little_memory_for_a_batch_is_a_row_without_figures(monkeypatch):
    """A fault of the emulated runtime, and what PyTorch raises."""
    monkeypatch.setattr(gpu_worker, "QUICK", (0.0, 1))
    monkeypatch.setattr(gpu_clock, "torch_reason", lambda: "torch sees no GPU")
    row = variants.get("alexnet-digits")
    with tempfile.TemporaryDirectory() as folder, emulated.pretend(f"memory_bytes={40 << 20}"):
        spec = {"variant": row.name, "folder": folder, "device": "emulated", "l2_bytes": 1 << 20, "quick": True}
        spec.update(shape=[3, 131, 131], path=folder + "/reference.npy", engine="fastalex fp32", batches=[512, 1])
        conversions.write_weights(spec)
        worker.reference(spec)
        large, one = gpu_worker.measure(spec)["rows"]
    assert large["batch"] == 512
    assert large["failed"].startswith("out of memory: device memory of ")
    assert large["failed"].endswith("use a smaller batch or image")
    assert one["correctness"]["ok"] and one["median_ms"] > 0
    torchs = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory.")
    assert gpu_worker.is_out_of_memory(torchs)
    assert not gpu_worker.is_out_of_memory(RuntimeError("CUDA error: unspecified launch failure"))


@pytest.mark.emulator
def test_a_peer_that_fails_is_noted_and_fastalex_is_not_forgiven():
    one, _, _ = measured(broken=("torch compile fp16",))
    failed = [row for row in one.rows if row["status"] == records.FAILED]
    assert [(row["engine"], row["batch"], row["note"]) for row in failed] == [
        ("torch compile fp16", 1, "out of memory"),
        ("torch compile fp16", 8, "out of memory"),
    ]
    with pytest.raises(ChildError):
        measured(broken=("fastalex fp16",))
    one, _, _ = measured(wrong=("fastalex fp16", "torch eager fp16"))
    assert {row["engine"] for row in one.wrong()} == {"fastalex fp16"}


@pytest.mark.emulator
def test_a_record_and_its_tables(tmp_path):
    one, _, _ = measured(broken=("torch compile fp16",))
    record = gpu_run.record(one, "h200", machine.make_record(one.base, []))
    assert (record["device"], record["title"]) == ("h200", "H200 SXM")
    assert {row["peer"] for row in record["rows"]} == {"fastalex"}
    assert {row["peer"] for row in record["peers"]} == {"torch"}
    folder = tmp_path / "h200"
    folder.mkdir()
    (folder / "h200.json").write_text(json.dumps(record))
    assert records.load(tmp_path) == [json.loads(json.dumps(record))]
    text = gpu_table.section(record)
    assert text.startswith("\n## NVIDIA H200, measured: H200 SXM\n")
    assert "Ceilings, by PyTorch: 4000 GB/s, 50.0 TFLOPS fp32, 700.0 fp16." in text
    assert "| alexnet2012 | 8 | 16-bit | torch eager fp16 | 0.200 |" in text
    assert "| out of memory |" in text
    assert "by CUDA events." in text
    lines = [line for line in text.splitlines() if line.startswith("| alexnet2012 | 1 | fp32 |")]
    assert len(lines) == 2
    assert "PyTorch was not measured" not in text
    assert "quick run" in gpu_table.terminal(record)
    assert gpu_table.is_gpu(record)
    assert not gpu_table.is_gpu({"machine": {}})


@pytest.mark.emulator
def test_layers_are_held_against_the_measured_ceilings():
    one, _, _ = measured()
    row = next(row for row in one.rows if (row["engine"], row["batch"]) == ("fastalex fp16, int8 fc", 8))
    conv1, pool1, fc6 = gpu_table.layer_rows(row)
    assert (conv1["layer"], pool1["layer"], fc6["layer"]) == ("conv1", "pool1", "fc6")
    flop = 2 * 105415200 * 8
    assert conv1["tflops"] == pytest.approx(flop / 0.05e-3 / 1e12)
    assert conv1["bound"] == "math"
    assert conv1["percent"] == pytest.approx(100 * flop / 700e12 / 0.05e-3)
    moved = 9216 * 4096 + 4096 + 2 * 8 * (9216 + 4096)
    assert fc6["gb_s"] == pytest.approx(moved / 0.1e-3 / 1e9, rel=1e-6)
    assert (fc6["bound"], fc6["percent"]) == ("memory", pytest.approx(100 * moved / 4000e9 / 0.1e-3, rel=1e-6))
    assert pool1["tflops"] is None
    assert gpu_table.layer_rows(dict(row, peaks=None))[0]["percent"] is None


@pytest.mark.emulator
def test_the_gpu_is_found_by_its_device_file(monkeypatch):
    with emulated.pretend("sm=75,name=NVIDIA GeForce RTX 2060;sm=90,name=NVIDIA H200"):
        assert gpu_run.find("h200", "emulated").name == "emulated:1"
        assert gpu_run.find("rtx20", "emulated").name == "emulated:0"
        assert gpu_run.find("rtx30", "emulated") is None
    assert gpu_run.find("h200", "naive") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("peers", "--device", "rtx30"), "peers does not take '--device"),
        (("layers", "--device", "rtx30"), "layers does not take '--device"),
        (("--device", "rtx30", "--threads", "2"), "gpu does not take '--threads 2'"),
        (("--device", "h200", "--precisions", "bf16"), "gpu does not take '--precisions bf16'"),
    ],
)
def test_mistakes_exit_2(words, said, capsys):
    assert main.main(list(words)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.emulator
def test_a_wrong_result_is_not_written(monkeypatch, capsys):
    monkeypatch.setattr(gpu_command, "publish", lambda *_: pytest.fail("published a wrong result"))
    options = main.parse(["--device", "h200", "--variants", "alexnet2012", "--batches", "1"])
    tools = {"child": PlayedChild(wrong=("fastalex fp32",)), "tools": PlayedTools()}
    with emulated.pretend("h200"), pytest.raises(WrongResultError, match="fastalex fp32, alexnet2012, batch 1"):
        gpu_command.run(options, "emulated", **tools)
    options.device = "rtx40"
    sentence = r"^this machine is not rtx40 .*: it is h200, its GPU is NVIDIA H200 SXM; say --device h200$"
    with emulated.pretend("h200"), pytest.raises(UserError, match=sentence):
        gpu_command.run(options, "emulated", **tools)
    sentence = r"^this machine is not rtx40 .*: its GPU is A100, which no device file knows$"
    with emulated.pretend("sm=80,name=A100"), pytest.raises(UserError, match=sentence):
        gpu_command.run(options, "emulated", **tools)


# On the emulated backend ------------------------------------------------------------------------------------------


def in_this_process(task, spec):
    return json.loads(json.dumps({"measure": gpu_worker.measure, "peaks": gpu_worker.peaks}[task](spec)))


class Here(engine_processes.Tools):
    """Conversions and the reference without processes."""

    def once(self, task, spec, timeout):
        if task == "prepare":
            conversions.CONVERSIONS[spec["conversion"]](spec)
        else:
            worker.reference(spec)
        return {}


@pytest.mark.emulator
def test_the_whole_run_on_the_emulated_backend(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_clock, "torch_reason", lambda: "torch sees no GPU")
    monkeypatch.setattr(gpu_worker, "QUICK", (0.0, 1))
    monkeypatch.setattr(gpu_clock, "WARM_UP", 1)
    path = tmp_path / "out.json"
    words = ["--device", "rtx30", "--variants", "alexnet-digits", "--fc-weights", "fp32", "int4", "--batches", "1"]
    options = main.parse([*words, "--quick", "--output", str(path)])
    assert gpu_command.run(options, "emulated", child=in_this_process, tools=Here()) == 0
    record = json.loads(path.read_text())
    assert (record["device"], record["title"], record["peers"]) == ("rtx30", "GeForce RTX 3090", [])
    assert record["peers_missing"] == "torch sees no GPU"
    assert [row["engine"] for row in record["rows"]] == ["fastalex fp32", "fastalex fp16, int4 fc"]
    for row in record["rows"]:
        assert row["correctness"]["ok"]
        assert row["clock"] == gpu_clock.HOST
        assert row["median_ms"] > 0
        assert row["l2_cold"]["median_ms"] > 0
        assert {"conv1", "fc6", "pool5"} <= set(row["layers"])
    assert 0 < record["rows"][1]["correctness"]["quantisation_error"] < 0.5
    shown = capsys.readouterr().out
    assert "alexnet-digits, fastalex fp32, batch 1" in shown
    assert "quick run" in shown
    assert set(record["machine"]["gpu"]) >= {"name", "sm", "l2_bytes", "driver"}


@pytest.mark.slow
def test_a_measuring_process_that_fails_is_one_sentence():
    with pytest.raises(ChildError, match="KeyError"):
        gpu_run.run_child("no such task", {})
    if not devices.recognize().device:
        found = gpu_run.run_child("peaks", {"torch_device": "cuda:0"})
        assert found["peaks"] is None
    assert device_spec.gpus("naive") == []
    assert os.path.isfile(processes.command("measure.gpu_worker")[1])
