"""The benchmark script: its arithmetic, its order (correctness first), its refusals and the generated report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastalex.errors import UserError
from fastalex.hardware import devices

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are only in a source checkout", allow_module_level=True)

from benchmarks import contributed, files, records  # noqa: E402
from benchmarks.commands import cpu, gpu, main, rewrite  # noqa: E402
from benchmarks.measure import cold, machine, timing  # noqa: E402
from benchmarks.measure import cpu as measuring  # noqa: E402
from benchmarks.measure.errors import ChildError  # noqa: E402
from benchmarks.numeric_classes import MODES  # noqa: E402
from benchmarks.report import compose, markdown, summary  # noqa: E402

HEAD = "| AlexNet image classification | Nano (optimized) | TX2 (optimized) | RTX (optimized) | GTX-1650 (optimized) |"
COLD = {"total_ms": 9.0, "start_ms": 1.0, "import_ms": 2.0, "build_ms": 3.0, "first_run_ms": 3.0, "peak_rss_mib": 50.0}


def record(device="cpu", title="Some CPU", quick=False, **row):
    values = {"variant": "alexnet2012", "batch": 1, "precision": "bf16", "fc_weights": "int8", "threads": 2}
    values.update(median_ms=4.0, p10_ms=3.5, p90_ms=5.0, images_per_s=250.0, runs=9, peak_rss_mib=80.0, cold=None)
    values["correctness"] = {"ok": True, "max_abs_diff": 1e-5, "tolerance": 1e-4, "max_abs_reference": 1.0}
    values["correctness"]["quantisation_error"] = 0.02
    values.update(row)
    machine = {"os": "Linux", "threads": 2, "pinned_cpus": "0, 1", "isa": "v3"}
    versions = {"fastalex": "0", "python": "3", "numpy": "1", "build": {"compiler": "gcc"}}
    record = {"device": device, "title": title, "quick": quick, "date": "2024-01-01", "rows": [values]}
    return dict(record, machine=machine, versions=versions)


class FakeChild:
    """Stands in for the measuring processes and remembers what was asked."""

    def __init__(self, wrong=()):
        self.calls, self.wrong = [], wrong

    def __call__(self, task, spec):
        self.calls.append((task, spec["variant"], spec["precision"], spec["fc_weights"], spec["batch"]))
        if task == "correct":
            ok = spec["fc_weights"] not in self.wrong
            return {"ok": ok, "max_abs_diff": 1e-6 if ok else 1.0, "max_abs_reference": 1.0, "tolerance": 1e-4}
        if task == "time":
            return dict(timing.summarize([5.0, 4.0, 6.0], spec["batch"]), peak_rss_mib=300.0)
        return dict(COLD, total_ms=COLD["total_ms"] + len(self.calls)) if task == "cold" else {}


def options(*words):
    return main.parse(["cpu", *words])


def test_summarize():
    found = timing.summarize(list(range(1, 102)), batch=32)
    assert (found["median_ms"], found["p10_ms"], found["p90_ms"], found["runs"]) == (51, 11, 91, 101)
    assert found["images_per_s"] == pytest.approx(32000 / 51)


def test_time_calls_warms_up_and_times_single_calls():
    now, calls = [0.0], []

    def call():
        calls.append(now[0])
        now[0] += 0.5 if len(calls) <= 2 else 0.1  # the first two are slow

    times = timing.time_calls(call, warmup_s=1.0, measure_s=0.35, min_runs=3, clock=lambda: now[0])
    assert calls[2] >= 1.0
    assert len(calls) == 2 + len(times)
    assert times == pytest.approx([100.0] * 4)
    assert len(timing.time_calls(call, 0.0, 0.0, min_runs=7, clock=lambda: now[0])) == 7


def test_compare_can_fail():
    reference = np.array([[1.0, -2.0]], np.float32)
    assert timing.compare(reference + np.float32(1e-4), reference)["ok"]
    off = timing.compare(reference + np.float32(3e-4), reference)
    assert not off["ok"]
    assert off["tolerance"] == pytest.approx(2e-4)
    assert not timing.compare(np.array([[1.0, np.nan]], np.float32), reference)["ok"]
    assert not timing.compare(reference * 0, reference * 0)["ok"]  # an output of zeros proves nothing
    with pytest.raises(ValueError, match="shapes differ"):
        timing.compare(reference[:, :1], reference)


def test_peak_memory_is_read(tmp_path):
    status = tmp_path / "status"
    status.write_text("VmPeak:\t 9999 kB\nVmHWM:\t    2048 kB\n")
    assert timing.peak_rss_mib(str(status)) == 2.0
    assert timing.peak_rss_mib(str(tmp_path / "none")) is None


def test_cold_is_the_median_of_fresh_processes():
    totals = iter((30.0, 10.0, 20.0))
    found = cold.measure_cold({}, lambda task, spec: dict(COLD, total_ms=next(totals), peak_rss_mib=None))
    assert found["total_ms"] == 20.0
    assert found["repeats"] == 3
    assert found["peak_rss_mib"] is None


def test_child_failures_are_one_sentence():
    with pytest.raises(ChildError, match="KeyError"):
        measuring.run_child("no such task", {"cpus": []})
    compile(cold.COLD_PROGRAM, "cold", "exec")


def test_correctness_comes_before_every_time():
    child = FakeChild()
    spec = {"variant": "torchvision", "precision": "fp32", "fc_weights": "int8", "threads": 1}
    rows = measuring.measure_variant(spec, (1, 32), child)
    assert [call[0] for call in child.calls] == ["correct", "time", "cold", "cold", "cold", "correct", "time"]
    assert rows[0]["cold"]["repeats"] == 3
    assert rows[1]["cold"] is None
    assert rows[1]["images_per_s"] == pytest.approx(32 * 200)


def test_a_wrong_result_is_not_timed_and_not_written(monkeypatch, tmp_path, capsys):
    child = FakeChild(wrong=("int8",))
    monkeypatch.setattr(cpu, "publish", lambda *_: pytest.fail("published a wrong result"))
    monkeypatch.setattr(cpu, "run", lambda chosen, run=cpu.run: run(chosen, child))
    assert main.main(["--fc-weights", "int8", "--output", str(tmp_path / "out.json")]) == 1
    assert [call[0] for call in child.calls] == ["save", "quantize", "correct"]
    assert "naive backend" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_measure_writes_what_was_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(machine, "make_record", lambda base, rows: dict(record(), rows=rows))
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(compose, "write", lambda: files.write_atomically(tmp_path / "R.md", "x"))
    child = FakeChild()
    assert cpu.run(options("--threads", "1"), child) == 0
    rows = json.loads((tmp_path / "results/cpu/some-v3.json").read_text())["rows"]
    cases = {(row["variant"], row["precision"], row["fc_weights"], row["batch"]) for row in rows}
    assert cases == {(v, *mode, b) for v in records.VARIANTS for mode in MODES for b in (1, 8, 32)}
    assert len(rows) == len(cases)
    assert (tmp_path / "R.md").exists()
    assert [call[0] for call in child.calls].count("save") == 2
    written = [call[2:4] for call in child.calls if call[0] == "quantize"]
    assert written == 2 * [("fp32", "int8"), ("fp32", "int4"), ("int8", "int8"), ("int8", "int4")]
    assert "## CPU, measured: Some CPU" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("--no-write",), ("--quick",), ("--output", "out.json")])
def test_the_committed_results_are_left_alone(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "make_record", lambda base, rows: dict(record(), rows=rows))
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(compose, "write", lambda: pytest.fail("wrote the report"))
    assert cpu.run(options("--threads", "1", "--batches", "1", *words), FakeChild()) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == (["out.json"] if "--output" in words else [])


def test_another_machine_is_refused_without_a_traceback():
    device = "tx2" if devices.recognize().device is not devices.get("tx2") else "nano"
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--device", device]
    done = subprocess.run(command, capture_output=True)
    said = done.stderr.decode()
    assert done.returncode == 2
    assert not done.stdout
    assert said.startswith("error: this machine is not " + device)
    assert said.count("\n") == 1


def test_a_call_without_a_command_measures_the_device(tmp_path):
    words = [
        "--variants",
        "torchvision",
        "--batches",
        "1",
        "2",
        "--fc-weights",
        "fp16",
        "--quick",
        "--no-write",
        "--json",
    ]
    for device in ([], ["--device", "cpu"]):
        assert main.parse([*device, *words]) == main.parse(["cpu", *words])
    assert main.parse([]) == main.parse(["cpu"])
    assert main.parse([*words, "--device", "h200"]) == main.parse(["gpu", "--device", "h200", *words])
    help_of = [sys.executable, str(BENCHMARKS / "run.py"), "--help"]
    said = subprocess.run(help_of, capture_output=True, cwd=str(tmp_path), check=True).stdout.decode()
    assert all(f"\n    {name} " in said or f"\n    {name}\n" in said for name in main.COMMANDS)
    module = [sys.executable, "-m", "benchmarks", "--help"]
    assert subprocess.run(module, capture_output=True, cwd=str(BENCHMARKS.parent), check=True).stdout.decode() == said


def test_the_right_machine_has_no_engine_yet(monkeypatch, capsys):
    found = devices.Recognition(devices.get("rtx30"), None, "nvidia-smi names it")
    monkeypatch.setattr(devices, "recognize", lambda: found)
    monkeypatch.setattr(gpu, "engine_reason", lambda: "built without CUDA")
    assert main.main(["--device", "rtx30"]) == 2
    said = capsys.readouterr().err
    assert "its CUDA engine cannot be measured: built without CUDA" in said
    assert "built without CUDA" in said
    assert said.count("\n") == 1
    assert main.main(["--device", "rtx40"]) == 2
    assert "it is rtx30" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device", "rtx31"), "did you mean"),
        (("--variants", "alexnet2011"), "did you mean"),
        (("--batches", "0"), "--batches"),
        (("--threads", "100000"), "--threads"),
        (("--threads", "-1"), "--threads"),
        (("--threads", "1", "0"), "--threads"),
        (("--precisions", "int8", "--fc-weights", "fp32"), "no such precision"),
        (("--card", "RTX 3090"), "does not take '--card"),
        (("cpus",), "invalid choice: 'cpus'"),
        (("report", "--quick"), "report does not take '--quick'"),
        (("--device",), "--device: expected one argument"),
        (("predict",), "predict needs a --device"),
        (("predict", "--device", "rtx30", "--card", "RTX 3091"), "did you mean"),
    ],
)
def test_mistakes_exit_2(words, said, capsys):
    assert main.main(list(words)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("device", sorted(devices.load_all()))
def test_every_prediction_says_predicted(device, capsys):
    assert main.main(["predict", "--device", device, "--variants", "torchvision", "--batches", "1", "64"]) == 0
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert len(tables) == 2 * len(devices.get(device).cards)
    assert all(text.startswith("predicted, not measured: ") and "\npredicted ms" in text for text in tables)
    assert all("\nfc8 " in text and "\ntotal " in text for text in tables)
    assert all(("not predicted: fp16" in text) == (device == "orin") for text in tables)


def test_prediction_as_json(capsys):
    words = ["predict", "--device", "rtx30", "--card", "RTX 3090", "--json", "--variants", "alexnet2012"]
    assert main.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["predicted"] is True
    assert [one["precision"] for one in found["rooflines"]] == ["fp32", "fp16", "int8", "int4"]
    assert found["rooflines"][1]["ms"] == pytest.approx(0.144, abs=6e-4)


def test_prediction_where_zeros_are_skipped(capsys):
    words = ["predict", "--device", "nano", "--variants", "alexnet2012", "--batches", "1", "8"]
    words += ["--density", "0.35", "--density", "0.35,0.35,0.375"]
    assert main.main(words) == 0
    first, second = capsys.readouterr().out.strip().split("\n\n")
    assert "  int8, 35 %  " in first.splitlines()[1]
    assert first.splitlines()[1].endswith("  int4, 35/35/37.5 %")
    total = next(line.split() for line in first.splitlines() if line.startswith("total"))
    assert float(total[-3]) == pytest.approx(4.44, abs=0.01), "fp16"
    assert "weights that meet a zero are skipped" in first
    assert "%" not in second.splitlines()[1], "zeros of several images differ"
    assert main.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["rooflines"]
    assert [one["density"] for one in found][3:6] == [None, [0.35] * 3, [0.35] * 3]
    assert main.main(["predict", "--device", "nano", "--density", "0.35", "--batches", "8"]) == 2
    assert "--batches does not name" in capsys.readouterr().err
    assert main.main(["predict", "--device", "nano", "--density", "35"]) == 2
    assert "above 0 and at most 1" in capsys.readouterr().err


def test_the_report_is_what_the_results_generate():
    made = compose.pages(records.load(), contributed.load())
    for name, text in made.items():
        assert (BENCHMARKS / name).read_text(encoding="utf-8") == text, "run: python benchmarks/run.py report"
    pages = {path.relative_to(BENCHMARKS).as_posix() for path in (BENCHMARKS / "results").glob("*.md")}
    assert pages == {name for name in made if name.startswith("results/")}
    for name, text in made.items():
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            assert (BENCHMARKS / name).parent.joinpath(target).exists(), f"{name} links to {target}"
    machines = made["RESULTS.md"].count("## Other engines")
    assert made["RESULTS.md"].count("\n") <= 36 + 12 * machines, "it is to fit a screen, but for a table a machine"


def test_pages_of_machines_that_are_gone_are_removed(tmp_path):
    old = tmp_path / "results" / "old.md"
    files.write_atomically(old, "old")
    compose.write(records.RESULTS, tmp_path)
    assert not old.exists()
    assert (tmp_path / "RESULTS.md").read_text() == (BENCHMARKS / "RESULTS.md").read_text()


def test_cells_are_measured_or_blank():
    empty = summary.render([])
    assert [line for line in empty.splitlines() if line.startswith("| ")] == [
        HEAD,
        "| --- | ---: | ---: | ---: | ---: |",
        *("| %s, batch %d | %s |" % (*case, " | ".join([summary.BLANK] * 4)) for case in summary.CASES),
    ]
    assert "Nothing is measured yet." in empty
    assert "measure-your-board.md" in empty
    records = [
        record("rtx30", "RTX 3090", median_ms=0.5, images_per_s=2000.0, precision="fp32", fc_weights="fp32"),
        record("rtx40", "RTX 4090", median_ms=0.25, images_per_s=4000.0, precision="fp32", fc_weights="fp16"),
        record("tx2", "Jetson TX2", quick=True),
        record(),
    ]
    text = summary.render(records)
    cells = [summary.BLANK, summary.BLANK, "0.250 ms, 4000/s (RTX 4090, fp32, fp16 fc)", summary.BLANK]
    assert f"| alexnet2012, batch 1 | {' | '.join(cells)} |" in text.splitlines()
    first = text.split("## Devices")[0]
    assert "| [RTX 3090](results/rtx-3090.md) | fp32 | 0.500 ms, 2000/s |  |  |  |" in first
    assert "| [Some CPU (v3)](results/some-v3.md) | bf16, int8 fc | 4.00 ms, 250/s |  |  |  |" in first
    assert "Jetson TX2" not in text, "a quick run is no result"


def test_cpu_section_shows_versions_and_cold_start():
    measured = compose.page([record(cold=dict(COLD, repeats=3))])
    assert measured.startswith("# Some CPU (v3)\n")
    assert "fastalex 0, Python 3, numpy 1; Linux; 2 threads pinned to CPUs 0, 1;" in measured
    assert "engine ISA v3; compiler gcc" in measured
    assert "| alexnet2012 | bf16 | int8 | 2 | 1 | 4.00 | 3.50 | 5.00 | 250 | 80.0 | 0.100 | 0.0200 |" in measured
    assert "| alexnet2012 | bf16 | int8 | 9.00 | 1.00 | 2.00 | 3.00 | 3.00 | 50.0 |" in measured
    assert "## NVIDIA H200, measured: H200 SXM" in compose.page([record("h200", "H200 SXM")])
    assert "quick run" not in measured
    assert "quick run" in compose.page([record(quick=True)])
    both = record()
    both["machine"]["thread_counts"] = [1, 2]
    assert "1 and 2 threads pinned to CPUs 0, 1;" in compose.page([both])


def test_predictions_stand_apart():
    text = compose.pages([])[summary.PREDICTED]
    assert text.startswith("# Predicted, not measured\n")
    sections = text.split("\n## ")[1:]
    assert len(sections) == len(records.VARIANTS)
    assert all("| predicted ms |" in section for section in sections)
    assert "| Jetson TX2 8GB | 5.93 | 2.97 | 1.98 | 1.51 |" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.0079, "0.00790"), (7.4, "7.40"), (99.94, "99.9"), (99.96, "100"), (1234.5, "1234"), (25, "25.0")],
)
def test_digits(value, text):
    assert markdown.digits(value) == text


def test_bad_result_files_are_named(tmp_path):
    folder = tmp_path / "cpu"
    folder.mkdir()
    (folder / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json is not a result file"):
        records.load(tmp_path)
    (folder / "a.json").write_text(json.dumps(dict(record(), machine=None, rows=[{}])))
    with pytest.raises(UserError, match="it has no variant"):
        records.load(tmp_path)
    (folder / "a.json").write_text(json.dumps(record("tx2")))
    with pytest.raises(UserError, match="results/tx2"):
        records.load(tmp_path)


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.json"
    files.write_atomically(path, "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="No space left"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(str(path.parent)) == ["file.json"]


def test_a_record_names_its_commit(tmp_path):
    def git(*words):
        mail = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", "-C", str(tmp_path), *mail, *words], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().strip()

    assert machine.commit(tmp_path) is None
    code, result = tmp_path / "code.py", tmp_path / "benchmarks" / "results" / "cpu" / "a.json"
    result.parent.mkdir(parents=True)
    for path in (code, result):
        path.write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "a")
    head = git("rev-parse", "HEAD")
    result.write_text("2")
    assert machine.commit(tmp_path) == head, "a result that was just written is no change of the code"
    code.write_text("2")
    assert machine.commit(tmp_path) == head + "-dirty"
    assert contributed.COMMIT.fits(head + "-dirty")
    assert "commit" in machine.make_record({"quick": False, "threads": 1, "cpus": []}, [])
    for path in (records.RESULTS).rglob("*.json"):
        assert "commit" in json.loads(path.read_text(encoding="utf-8")), path


def test_the_report_names_the_commit():
    assert "measured 2024-01-01, commit not recorded." in compose.page([record()])
    assert "commit 0123456789-dirty." in compose.page([dict(record(), commit="0123456789abcdef" + "-dirty")])


def test_json_has_a_line_for_each_row():
    steps = [{"layers": ["conv1"], "ms": 0.1}, {"layers": [], "ms": None}]
    value = {
        "rows": [{"steps": steps, "batch": 1}],
        "machine": {"isa": "v3", "state": {"mhz": 1}},
        "empty": [],
        "a": "\u00b1",
    }
    value["packages"] = {"ncnn": {"mb": 1.5}, "torch": {"mb": 2}}
    assert files.as_json(value, sort_keys=False).splitlines() == [
        "{",
        ' "rows": [',
        '  {"steps": [',
        '   {"layers": ["conv1"], "ms": 0.1},',
        '   {"layers": [], "ms": null}',
        '  ], "batch": 1}',
        " ],",
        ' "machine": {"isa": "v3", "state": {"mhz": 1}},',
        ' "empty": [],',
        ' "a": "\\u00b1",',
        ' "packages": {',
        '  "ncnn": {"mb": 1.5},',
        '  "torch": {"mb": 2}',
        " }",
        "}",
    ]
    assert json.loads(files.as_json(value)) == value
    assert files.as_json(value).splitlines()[1] == ' "a": "\\u00b1",'


@pytest.mark.parametrize("path", rewrite.committed(), ids=lambda path: "/".join(path.parts[-3:]))
def test_committed_json_is_as_the_commands_write_it(path):
    assert path.read_text(encoding="utf-8") == rewrite.rewritten(path), "run: python benchmarks/run.py rewrite"


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", "intel-core-i7-8700"), ("AMD EPYC", "amd-epyc"), ("@", "cpu")],
)
def test_slug(name, slug):
    assert records.slug(name) == slug


@pytest.mark.slow
def test_whole_run_on_the_small_network(tmp_path):
    pytest.importorskip("fastalex._core")
    path = tmp_path / "out.json"
    words = ["--variants", "alexnet-digits", "--precisions", "fp32", "--fc-weights", "int8", "--batches", "1", "3"]
    assert main.main([*words, "--quick", "--threads", "1", "--output", str(path)]) == 0
    found = json.loads(path.read_text())
    assert found["quick"] is True
    assert found["machine"]["threads"] == 1
    assert found["versions"]["build"]
    for row, batch in zip(found["rows"], (1, 3)):
        assert row["batch"] == batch
        assert row["correctness"]["ok"]
        assert row["runs"] >= 3
        assert 0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]
        assert 0 < row["correctness"]["quantisation_error"] < 0.1
    cold = found["rows"][0]["cold"]
    assert cold["total_ms"] >= cold["import_ms"] + cold["build_ms"] + cold["first_run_ms"] > 0
