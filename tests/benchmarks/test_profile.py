"""The counters of the slowest layers: which are chosen, and how Nsight Compute is run. It is played."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cuda_emulator import emulated
from fastalex.errors import UserError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are only in a source checkout", allow_module_level=True)

from benchmarks.commands import main  # noqa: E402
from benchmarks.commands import profile as command  # noqa: E402
from benchmarks.measure import processes, profile, profile_worker  # noqa: E402
from benchmarks.measure.errors import MeasurementError  # noqa: E402

PEAKS = {"gb_s": 4000.0, "fp32_tflops": 50.0, "fp16_tflops": 700.0}


def row(batch, layers, peaks=PEAKS):
    found = {"variant": "alexnet2012", "engine": "fastalex fp16", "batch": batch, "precision": "fp16"}
    return dict(found, fc_weights="fp16", layers=layers, peaks=peaks)


def record(*rows):
    return {"machine": {"gpu": {"name": "NVIDIA H200"}}, "rows": list(rows)}


# conv1 of a batch of 1 needs 0.3 us at 700 TFLOPS, fc6 19 us at 4 TB/s.
FAST = {"conv1": 0.001, "conv2": 0.002, "fc6": 0.020, "pool1": 0.001}
SLOW = {"conv1": 0.1, "conv2": 0.002, "fc6": 0.020, "pool1": 0.05}


def test_the_layers_that_lose_most_are_chosen():
    found = profile.slowest(record(row(1, FAST), row(8, SLOW)))
    assert [(one.layer, one.row["batch"]) for one in found] == [("conv1", 8), ("pool1", 8), ("conv2", 1)]
    assert found[0].share == pytest.approx(0.1 / 0.172)
    assert found[0].lost == pytest.approx(found[0].share * (1 - 8 * 2 * 105415200 / 700e12 / 0.1e-3))
    assert "fc6" not in [one.layer for one in found]  # at its ceiling, though it takes most of the time of batch 1
    # without ceilings the longest are
    blind = profile.slowest(record(row(1, FAST, None)), 1)
    assert [one.layer for one in blind] == ["fc6"]
    with pytest.raises(UserError, match="no times of layers"):
        profile.slowest(record(dict(row(1, FAST), layers=None)))


def test_each_row_is_run_once_under_ncu(tmp_path, capsys):
    asked = []

    def ncu(words):
        asked.append(words)
        return "counters\n"

    path = tmp_path / "result.json"
    path.write_text(json.dumps(record(row(1, FAST), row(8, SLOW))))
    out = tmp_path / "profile.txt"
    assert command.run(main.parse(["profile", str(path), "--output", str(out)]), ncu) == 0
    assert len(asked) == 2  # two of the three layers are of one row
    for words, batch in zip(asked, (8, 1)):
        assert words[: len(profile.NCU)] == profile.NCU
        assert words[len(profile.NCU) : -1] == processes.command("measure.profile_worker")
        assert json.loads(words[-1]) == {
            "variant": "alexnet2012",
            "batch": batch,
            "precision": "fp16",
            "fc_weights": "fp16",
            "device": "cuda",
        }
    text = out.read_text()
    assert text.count("counters\n") == 2
    assert "## alexnet2012, fastalex fp16, batch 8\nconv1: 58 % of the time, 57 % above its ceiling\n" in text
    assert capsys.readouterr().err.splitlines() == [
        "alexnet2012, fastalex fp16, batch 8",
        "alexnet2012, fastalex fp16, batch 1",
    ]


def test_what_was_profiled_before_a_failure_is_kept(tmp_path):
    path, out = tmp_path / "result.json", tmp_path / "profile.txt"
    path.write_text(json.dumps(record(row(1, FAST), row(8, SLOW))))
    answers = iter(["counters of batch 8"])

    def ncu(words):
        try:
            return next(answers)
        except StopIteration:
            raise MeasurementError("ncu failed (1): ERR_NVGPUCTRPERM") from None

    with pytest.raises(MeasurementError, match="ERR_NVGPUCTRPERM"):
        command.run(main.parse(["profile", str(path), "--output", str(out)]), ncu)
    assert "counters of batch 8" in out.read_text()
    assert out.read_text().endswith("ncu failed (1): ERR_NVGPUCTRPERM\n")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (
            "print('==ERROR== no permission'); print('bye'); raise SystemExit(3)",
            r"ncu failed \(3\): ==ERROR== no permission",
        ),
        ("raise SystemExit(4)", r"ncu failed \(4\): no message"),
        ("import time; time.sleep(60)", "ncu did not end within 1 s"),
    ],
)
def test_a_failing_ncu_is_one_sentence(program, said, monkeypatch):
    monkeypatch.setattr(profile, "LIMIT_S", 1.0)
    with pytest.raises(MeasurementError, match=said):
        profile.run_ncu([sys.executable, "-c", program])


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"machine": {}, "rows": []}', '{"machine": {"gpu": {}}, "rows": []}']
)
def test_what_is_no_result_of_a_gpu_is_refused(text, tmp_path, capsys):
    path = tmp_path / "result.json"
    path.write_text(text)
    assert main.main(["profile", str(path)]) == 2
    error = capsys.readouterr().err
    assert "result.json is not a result of 'gpu': " in error
    assert error.count("\n") == 1
    assert main.main(["profile", str(tmp_path / "none.json")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_without_ncu_it_says_so(tmp_path, monkeypatch, capsys):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(record(row(1, FAST))))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main.main(["profile", str(path)]) == 2
    assert "there is no ncu (NVIDIA Nsight Compute) on the PATH" in capsys.readouterr().err
    assert main.main(["profile", str(path), "--count", "0"]) == 2
    assert "--count must be above 0" in capsys.readouterr().err


@pytest.mark.emulator
def test_the_worker_says_which_kernels_are_launched(capsys):
    spec = {"variant": "alexnet-digits", "device": "emulated", "precision": "fp16", "fc_weights": "int8", "batch": 1}
    with emulated.pretend("h200"):
        profile_worker.run(spec)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("conv1")
    assert any(line.startswith("fc8: ") for line in lines)


def test_the_driver_is_told_what_to_count(monkeypatch):
    told = []

    class Driver:
        def __getattr__(self, name):
            return lambda: told.append(name)

    monkeypatch.setattr(profile_worker.ctypes, "CDLL", lambda name: told.append(name) or Driver())
    with profile_worker.counting():
        told.append("call")
    assert told == ["libcuda.so.1", "cuProfilerStart", "call", "cuProfilerStop"]
