"""Simulated runs of the kernels: the form of their files, how they are merged, and the document made of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

if not (Path(__file__).resolve().parents[2] / "benchmarks").is_dir():
    pytest.skip("the benchmarks are only in a source checkout", allow_module_level=True)

from benchmarks import files, simulated
from benchmarks.commands import main
from benchmarks.report import simulated as text
from fastalex.errors import UserError

RUN = {
    "variant": "alexnet2012", "precision": "fp16", "fc_weights": "int8", "batch": 1, "layer": "conv2",
    "kernel": "hfma2_64x64", "model": "a", "blocks": 50, "blocks_run": 8, "resident": 4, "clocks": 92160,
    "clock_mhz": 921.6, "us": 100.0, "ipc": 2.5, "relative_error": 7e-4, "commit": "0" * 40, "nvcc": "11.8",
}  # fmt: skip
RECORD = {
    "schema": 1,
    "what": "simulated, not measured",
    "device": "nano",
    "simulator": {"name": "A simulator", "version": "1"},
    "models": [
        {"name": "a", "parameters": {"shared_latency": 24}},
        {"name": "b", "parameters": {"shared_latency": 30}},
    ],
    "runs": [RUN],
    "not_run": [{"layer": "conv1", "kernel": "k", "why": "it needs mma"}],
}


def record(*runs, **changes):
    found = copy.deepcopy({**RECORD, **changes})
    found["runs"] = [{**RUN, **run} for run in runs] if runs else found["runs"]
    return found


def test_every_record_is_one():
    for path in simulated.FOLDER.glob("*.json"):
        found = simulated.read(path)
        assert path.stem == found["device"]
        assert path.read_text(encoding="utf-8") == files.as_json(found, sort_keys=False)


def test_whole_launches_are_scaled_by_waves():
    """50 blocks are 13 waves of 4; 8 are 2 of them."""
    assert simulated.scale(RUN) == 13 / 2
    assert simulated.scale(dict(RUN, blocks_run=50)) == 1
    assert simulated.scale(dict(RUN, blocks=3, blocks_run=3)) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clocks": None}, r"runs\[0\].clocks must be a whole number above 0"),
        ({"us": 103.0}, r"runs\[0\].us: clocks and clock_mhz give 100"),
        ({"blocks_run": 6}, r"runs\[0\].blocks_run must be whole waves of 4 blocks, or all"),
        ({"blocks_run": 60}, r"runs\[0\].blocks_run is more than blocks"),
        ({"model": "c"}, r"runs\[0\].model must be one of the models: a, b"),
        ({"commit": "main"}, r"runs\[0\].commit must be the 40 digits of a commit"),
        ({"relative_error": -1}, r"runs\[0\].relative_error must be a number of at least 0"),
        ({"density": 1.5}, r"runs\[0\].density must be a number above 0, at most 1"),
        ({"speed": 1}, r"runs\[0\].speed is not known"),
    ],
)
def test_a_wrong_run_is_refused_in_one_sentence(changes, words):
    with pytest.raises(ValueError, match=words):
        simulated.check(record(changes))


@pytest.mark.parametrize("key", [key for key in RUN if key != "ipc"])
def test_what_a_run_does_not_state_is_named(key):
    found = record()
    del found["runs"][0][key]
    with pytest.raises(ValueError, match=rf"runs\[0\].{key} is missing"):
        simulated.check(found)


def test_a_wrong_file_is_refused(tmp_path):
    for changes, words in [
        ({"what": "measured"}, 'what must be "simulated, not measured"'),
        ({"schema": 2}, "schema must be 1"),
        ({"device": "toaster"}, "device must be the name of a file in devices/"),
        ({"models": [RECORD["models"][0]] * 2}, "two of the models have one name"),
        ({"models": [{"name": "a", "parameters": {"x": [1]}}]}, "parameters must be an object of plain values"),
        ({"runs": [RUN, RUN]}, r"runs\[1\] is there twice"),
    ]:
        with pytest.raises(ValueError, match=words):
            simulated.check(record(**changes))
    for content in ("{", "[]"):
        (tmp_path / "nano.json").write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match="nano.json is no record of simulated runs: "):
            simulated.load(tmp_path)


def test_runs_are_merged():
    old = record({}, {"layer": "conv1", "kernel": "k"}, not_run=[{"layer": "conv3", "kernel": "w", "why": "time"}])
    new = record({"us": 200.0, "clocks": 184320}, {"model": "b"}, {"layer": "conv3", "kernel": "w"}, not_run=[])
    found = simulated.merged(old, new)
    simulated.check(found)
    assert [(run["layer"], run["model"], run["us"]) for run in found["runs"]] == [
        ("conv1", "a", 100.0),
        ("conv2", "a", 200.0),
        ("conv2", "b", 100.0),
        ("conv3", "a", 100.0),
    ]
    assert found["not_run"] == []  # it has been run
    with pytest.raises(UserError, match="the device is tx2, and that of the record is nano"):
        simulated.merged(old, dict(new, device="tx2"))


KEY = ("alexnet2012", "fp16", "int8", 1, None)


def cells(*runs, new=(), old=()):
    rows = text.rows(record(*runs), dict(new), dict(old))
    return [dict(zip(text.HEAD, row)) for row in rows], list(text.rows(record(*runs), dict(new), dict(old)))


def test_a_row_has_the_range_of_the_models_and_both_predictions():
    runs = ({}, {"model": "b", "us": 80.0, "clocks": 73728, "ipc": 3.0, "relative_error": 9e-4, "emulator_error": 5e-4})
    (row,), (line,) = cells(*runs, new={(*KEY, "conv2", "hfma2_64x64"): 500.0})
    assert (row["layer"], row["kernel"]) == ("conv2 fp16", "`hfma2_64x64`")
    assert (row["blocks run"], row["factor"], row["IPC"]) == ("8 of 50", "6.50", "2.50 to 3.00")
    assert row["simulated us"] == "520 to 650"
    assert line[6:10] == ["500", "1.04 to 1.30", "", ""]
    assert row["error"] == "9.0e-04"
    (row,), (line,) = cells({"blocks_run": 50}, old={(*KEY, "conv2", "hfma2_64x64"): 50.0})
    assert (row["factor"], row["simulated us"]) == ("1.00", "100")
    assert line[6:10] == ["", "", "50.0", "2.00"]
    assert row["emulator's"] == ""


def test_fully_connected_layers_say_their_weights_and_zeros():
    (row,), _ = cells({"layer": "fc7", "kernel": "columns", "density": 0.35})
    assert row["layer"] == "fc7 fp16 int8 35 % not zero"


def test_predictions_that_miss_are_named_for_each_model():
    whole = {"blocks_run": 50}
    runs = (whole, {**whole, "layer": "conv3", "kernel": "w"}, {"layer": "conv4", "kernel": "x"})
    other = {**whole, "model": "b", "us": 125.0, "clocks": 115200}
    new = {(*KEY, "conv2", "hfma2_64x64"): 119.0, (*KEY, "conv3", "w"): 70.0}
    said = text.judgment(record(*runs, other), new)
    assert said.splitlines() == [
        "Within 20 % of model a: 1 of 2 predictions; not conv3 fp16 `w` 1.43.",
        "Within 20 % of model b: 1 of 1 predictions.",
    ]
    assert text.judgment(record(*runs), {}) == "Nothing of it is predicted."


def test_the_sum_of_a_network_needs_all_of_it():
    """A run of 50 of 50 blocks takes 100 us, one of 8 of them 13 / 2 times that."""
    runs = ({"blocks_run": 50}, {"layer": "conv3", "kernel": "w"}, {"blocks_run": 50, "model": "b"})
    new = {(*KEY, "conv2", "hfma2_64x64"): 100.0, (*KEY, "conv3", "w"): 500.0}
    (said,) = text.totals(record(*runs), new, {})
    assert said == "All of alexnet2012, fp16, fc int8, batch 1: simulated 0.750 ms, predicted 0.600 ms."
    (said,) = text.totals(record(*runs), new, dict.fromkeys(new, 200.0))
    assert said.endswith("predicted 0.600 ms, by throughput 0.400 ms.")
    assert not list(text.totals(record(*runs[:1]), new, {}))


def test_a_section_says_what_it_is_and_what_is_missing():
    made = text.section(record({"note": "with patience"}), {}, {})
    assert made.startswith("### NVIDIA Jetson Nano")
    assert "**Simulated, not measured**: A simulator 1; nvcc 11.8; commit 0000000." in made
    assert "- Model a: shared_latency 24." in made
    assert "- conv2 `hfma2_64x64`: with patience" in made
    assert "Not run: conv1 `k` (it needs mma)." in made


def test_predictions_before_and_after_are_read(tmp_path):
    step = {
        "layers": ["conv2", "relu2"],
        "kernels": [{"name": "k", "ms": 0.5}, {"name": "old", "compute_ms": 1, "memory_ms": 2}],
    }
    case = {"variant": "alexnet2012", "precision": "fp16", "fc_weights": "int8", "batch": 1}
    (tmp_path / "nano.json").write_text(json.dumps({"device": "nano", **case, "steps": [step]}), encoding="utf-8")
    assert text.predictions(tmp_path) == {"nano": {(*KEY, "conv2", "k"): 500.0, (*KEY, "conv2", "old"): 2000.0}}
    for folder in (text.PREDICTED, text.BEFORE):
        assert {"nano", "tx2"} <= set(text.predictions(folder))


def test_the_command_keeps_a_record_and_writes_its_document(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(simulated, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(text, "REPORT", tmp_path / "simulation.md")
    simulated.FOLDER.mkdir()
    text.REPORT.write_text(
        "before\n<!-- begin simulation -->\n\nold\n<!-- end simulation -->\nafter\n", encoding="utf-8"
    )
    (tmp_path / "run.json").write_text(json.dumps(RECORD), encoding="utf-8")
    assert main.main(["simulated", str(tmp_path / "run.json")]) == 0
    assert "conv2 fp16" in capsys.readouterr().out
    kept = simulated.read(simulated.FOLDER / "nano.json")
    assert kept["runs"] == RECORD["runs"]
    document = text.REPORT.read_text(encoding="utf-8")
    assert document.startswith("before\n<!-- begin simulation -->\n\n### ") and document.endswith("-->\nafter\n")
    (tmp_path / "run.json").write_text(json.dumps(record({"us": 1})), encoding="utf-8")
    assert main.main(["simulated", str(tmp_path / "run.json")]) == 2
    assert "runs[0].us" in capsys.readouterr().err
    assert simulated.read(simulated.FOLDER / "nano.json") == kept


def test_the_document_comes_from_the_records():
    document = text.REPORT.read_text(encoding="utf-8")
    made = f"<!-- begin {text.NAME} -->\n\n{text.render(simulated.load())}\n<!-- end {text.NAME} -->"
    assert made in document, "run: python benchmarks/run.py report simulated"
