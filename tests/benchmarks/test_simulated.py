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

OLD, NEW = "0" * 40, "1" * 40
RUN = {
    "variant": "alexnet2012", "precision": "fp16", "fc_weights": "int8", "batch": 1, "layer": "conv2",
    "kernel": "hfma2_64x64", "model": "a", "blocks": 50, "blocks_run": 8, "resident": 4, "clocks": 92160,
    "clock_mhz": 921.6, "us": 100.0, "ipc": 2.5, "relative_error": 7e-4, "commit": OLD, "nvcc": "11.8",
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
    "commits": [
        {"commit": OLD, "name": "before", "what": "a product"},
        {"commit": NEW, "name": "after", "what": "a transform"},
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
        ({"commit": "2" * 40}, rf"runs\[0\].commit must be one of the commits: {OLD}, {NEW}"),
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
        ({"commits": [RECORD["commits"][0]] * 2}, "two of the commits have one name"),
        ({"runs": [RUN, RUN]}, r"runs\[1\] is there twice"),
    ]:
        with pytest.raises(ValueError, match=words):
            simulated.check(record(**changes))
    for content in ("{", "[]"):
        (tmp_path / "nano.json").write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match="nano.json is no record of simulated runs: "):
            simulated.load(tmp_path)


def test_runs_are_merged():
    """Of one launch, the newer run stays; those of another model or commit, or with zeros, stand beside it."""
    first, second = RECORD["commits"]
    remark = [{"layer": "conv3", "kernel": "w", "why": "time"}]
    old = record({}, {"layer": "conv1", "kernel": "k"}, commits=[first], not_run=remark)
    more = ({"model": "b"}, {"commit": NEW}, {"layer": "conv3", "kernel": "w"}, {"layer": "fc6"})
    new = record({"us": 200.0, "clocks": 184320}, *more, {"layer": "fc6", "density": 0.35}, not_run=[])
    new["commits"] = [second, first]
    found = simulated.merged(old, new)
    simulated.check(found)
    assert sorted((run["layer"], run["model"], run["commit"], run["us"]) for run in found["runs"]) == [
        ("conv1", "a", OLD, 100.0),
        ("conv2", "a", OLD, 200.0),
        ("conv2", "a", NEW, 100.0),
        ("conv2", "b", OLD, 100.0),
        ("conv3", "a", OLD, 100.0),
        ("fc6", "a", OLD, 100.0),
        ("fc6", "a", OLD, 100.0),
    ]
    assert found["commits"] == [first, second]  # the newest stays the last
    assert found["not_run"] == []  # it has been run
    with pytest.raises(UserError, match="the device is tx2, and that of the record is nano"):
        simulated.merged(old, dict(new, device="tx2"))


CASE = ("alexnet2012", "fp16", "int8", 1, None)
CONV2 = (*CASE, "conv2")
WHOLE = {"blocks_run": 50}  # takes 100 us; a run of 8 of 50 blocks 13 / 2 times that
#: conv2 before, of two launches after.
TWO = (WHOLE, {**WHOLE, "commit": NEW, "kernel": "in", "ipc": 3.0, "us": 20.0, "clocks": 18432})
TWO += ({**WHOLE, "commit": NEW, "kernel": "out", "ipc": 2.0, "us": 60.0, "clocks": 55296, "emulator_error": 5e-4},)


def states_of(*runs, before=None, after=None):
    made = record(*runs)
    return [text.State(made, index, times or {}) for index, times in enumerate((before, after))]


def test_a_row_of_a_layer_has_all_commits_and_both_predictions():
    states = states_of(*TWO, after={CONV2: {"in": 20.0, "out": 80.0}})
    (row,) = text.layer_rows(states, {CONV2: {"hfma2_64x64": 50.0}})
    assert text.layer_head(states)[:6] == [
        "layer",
        "before us",
        "after us",
        "after / before",
        "before IPC",
        "after IPC",
    ]
    assert row[:6] == ["conv2 fp16", "100", "80.0", "0.800", "2.50", "2.25"]  # three quarters of the time at 2.0
    assert row[6:] == ["100", "0.800", "50.0", "2.00", "7.0e-04", "5.0e-04"]
    (row,) = text.layer_rows(states_of(*TWO, after={CONV2: {"in": 20.0, "other": 80.0}}), {})
    assert row[6:10] == [""] * 4  # a prediction of other kernels is none of this layer


def test_a_layer_that_ran_once_leaves_the_rest_blank():
    (row,) = text.layer_rows(states_of(WHOLE), {})
    assert row == ["conv2 fp16", "100", "", "", "2.50", "", "", "", "", "", "", ""]


def test_a_row_of_a_launch_has_its_scale_and_the_range_of_the_models():
    runs = ({}, {"model": "b", "us": 80.0, "clocks": 73728, "ipc": 3.0})
    (row,) = text.launch_rows(states_of(*runs, before={CONV2: {"hfma2_64x64": 500.0}}))
    assert row[:6] == ["conv2 fp16", "`hfma2_64x64`", "before", "8 of 50", "6.50", "2.50 to 3.00"]
    assert row[6:] == ["520 to 650", "500", "1.04 to 1.30"]
    (row,) = text.layer_rows(states_of(*runs), {})
    assert row[1] == "520 to 650"


def test_layers_stand_in_the_order_of_the_network_and_those_with_zeros_last():
    runs = [{"layer": name} for name in ("norm1", "fc7", "conv2", "conv1")]
    rows = text.layer_rows(states_of(*runs, {"layer": "fc7", "density": 0.35}), {})
    names = ["conv1 fp16", "norm1 fp16", "conv2 fp16", "fc7 fp16 int8", "fc7 fp16 int8 35 % not zero"]
    assert [row[0] for row in rows] == names


def test_predictions_that_miss_are_named():
    runs = (*TWO, {**WHOLE, "layer": "conv3", "kernel": "w", "commit": NEW})
    after = {CONV2: {"in": 26.0, "out": 54.0}, (*CASE, "conv3"): {"w": 119.0}, (*CASE, "conv4"): {"x": 1.0}}
    said = "Predictions within 20 % of the simulation, after: 2 of 2 layers. 2 of 3 kernels, not conv2 fp16 `in` 0.769."
    assert list(text.judgment(states_of(*runs, after=after))) == [said]
    after[(*CASE, "conv3")] = {"w": 70.0}
    (said,) = text.judgment(states_of(*runs, after=after))
    assert "1 of 2 layers, not conv3 fp16 1.43. 1 of 3 kernels" in said
    assert not list(text.judgment(states_of(*runs)))


def test_the_sum_of_a_network_needs_all_of_it():
    fc = {"layer": "fc7", "kernel": "rows"}
    zeros = [{**fc, "density": 0.35}, {**fc, "density": 0.35, "commit": NEW, "us": 10.0, "clocks": 9216, **WHOLE}]
    runs = [*TWO, fc, {**fc, "commit": NEW, "us": 50.0, "clocks": 46080}, *zeros]
    after = {CONV2: {"in": 20.0, "out": 60.0}, (*CASE, "fc7"): {"rows": 320.0}}
    states = states_of(*runs, after={**after, (*CASE[:4], 0.35, "fc7"): {"rows": 20.0}})
    all_read, some = text.totals(states, {CONV2: {"hfma2_64x64": 100.0}, (*CASE, "fc7"): {"rows": 500.0}})
    said = "All of alexnet2012, fp16, fc int8, batch 1: simulated before 0.750 ms, after 0.405 ms; predicted, after, "
    assert all_read == said + "0.400 ms; by throughput, before, 0.600 ms."
    assert "35 % of the inputs of fc not zero: simulated before 0.750 ms, after 0.0900 ms; predicted, after, " in some
    assert some.endswith("after, 0.100 ms.")
    assert not list(text.totals(states_of(*TWO, after=after), {}))  # fc7 did not run


def test_a_section_says_what_it_is_and_what_is_missing():
    made = text.section(record({"note": "with patience"}), [{}, {}], {})
    assert made.startswith("### NVIDIA Jetson Nano")
    assert "**Simulated, not measured**: A simulator 1; nvcc 11.8." in made
    assert "- Before (commit 0000000): a product.\n- After (commit 1111111): a transform.\n" in made
    assert "- Model a: shared_latency 24." in made
    assert "- conv2 `hfma2_64x64`: with patience" in made
    assert "Not run: conv1 `k` (it needs mma)." in made


def test_predictions_are_read(tmp_path):
    """Only fully connected layers are other ones if there are zeros."""
    step = {
        "layers": ["conv2", "relu2"],
        "kernels": [{"name": "k", "ms": 0.5}, {"name": "old", "compute_ms": 1, "memory_ms": 2}],
    }
    steps = [step, {"layers": ["fc7"], "kernels": [{"name": "c", "ms": 1}]}]
    case = {"variant": "alexnet2012", "precision": "fp16", "fc_weights": "int8", "batch": 1}
    made = {"device": "nano", **case, "density": 0.35, "steps": steps}
    (tmp_path / "nano-0.35.json").write_text(json.dumps(made), encoding="utf-8")
    found = {CONV2: {"k": 500.0, "old": 2000.0}, (*CASE[:4], 0.35, "fc7"): {"c": 1000.0}}
    assert text.predictions(tmp_path) == {"nano": found}


def test_every_commit_is_predicted():
    for made in simulated.load():
        if made["device"] == "gtx1650":
            continue  # its simulated code is another architecture's
        for one in made["commits"]:
            folder = text.PREDICTED / one["name"] if one is not made["commits"][-1] else text.PREDICTED
            state = text.State(made, made["commits"].index(one), text.predictions(folder)[made["device"]])
            dense = [place for place in state.layers if place[1] == "fp16" and place[4] is None]
            assert len(dense) == 11 and all(map(state.prediction, dense))


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
