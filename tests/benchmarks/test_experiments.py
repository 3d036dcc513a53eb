"""The experiments: their document says what their committed results say, each arm is the network it claims, and a plan
goes on where it was interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from benchmarks.commands.main import main
from benchmarks.experiments import (
    cifar_data,
    effects,
    figures,
    networks,
    plan,
    record,
    report,
    runs,
    sources,
    throughput,
)
from fastalex import UserError
from tests.train.test_idx import write_set

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "experiments" / "results"
DOCUMENT = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("training.md", "reproduce.md"))


def between(name):
    found = DOCUMENT.partition(f"<!-- begin {name} -->")[2].partition(f"<!-- end {name} -->")[0].strip()
    assert found, f"the documents have nothing between the markers of {name}"
    return found


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_the_document_has_the_tables_of_the_results(name):
    for experiment, one in record.of(plan.load(name)).items():
        if not one.arms:
            assert between(f"{experiment}-{name}") == report.NOTHING.strip()
            continue
        found = record.read(one.path)
        assert between(f"{experiment}-{name}") == report.section(found, f"{experiment}-{name}").strip()
        written = one.path.with_suffix(".svg").read_bytes()
        matplotlib = pytest.importorskip("matplotlib")
        if (f"Matplotlib v{matplotlib.__version__},").encode() in written:
            assert written == figures.draw(found), "run: python benchmarks/run.py report experiments"


def test_the_document_has_the_bytes_that_were_counted():
    found = json.loads((RESULTS / "traffic.json").read_text(encoding="utf-8"))
    rows = between("traffic").splitlines()[2:]
    assert len(rows) == len(found["cases"]) == 5
    for row, case in zip(rows, found["cases"]):
        cells = [cell.strip(" `") for cell in row.strip("|").split("|")]
        assert cells[:2] == [case["scheme"], str(case["processes"])]
        assert float(cells[2]) == pytest.approx(sum(case["sent"].values()) / 1e6, abs=0.05)


def test_the_document_has_the_throughput_that_was_measured():
    found = json.loads((RESULTS / "throughput.json").read_text(encoding="utf-8"))
    assert between("throughput") == throughput.table(found).strip()


def test_the_two_loops_train_the_same_network():
    expected = {name: list(shape) for name, shape in throughput.ROW.parameter_shapes().items()}
    plain = throughput.plain_network(throughput.ROW).state_dict()
    assert [list(value.shape) for value in plain.values()] == list(expected.values())


# The arms -----------------------------------------------------------------------------------------------------------


def arm_network(one, name):
    return networks.make(one["network"], {**one.get("fields", {}), **one["arms"][name].get("fields", {})})


@pytest.mark.parametrize(
    ("name", "pooling"), [("digits", "plain pooling (2 x 2, stride 2)"), ("fashion", "no overlap")]
)
def test_each_arm_differs_in_its_one_idea(name, pooling):
    one = plan.load(name).experiments["ablations"]
    rows = {arm: arm_network(one, arm) for arm in one["arms"]}
    base = rows["all of it"].layers()

    def ops(arm):
        return [layer.op for layer in rows[arm].layers()]

    plain = rows[pooling].layers()
    assert [layer.options["kernel"] for layer in plain if layer.op == "maxpool"] == [2, 2, 2]
    assert [layer.out_shape for layer in plain] == [layer.out_shape for layer in base]
    assert ops("no LRN") == [layer.op for layer in base if layer.op != "lrn"]
    assert {layer.options["groups"] for layer in rows["one column"].layers() if layer.op == "conv"} == {1}
    if "tanh" in rows:
        assert "relu" not in ops("tanh") and ops("tanh").count("tanh") == 7
    assert one["arms"]["no dropout"]["recipe"] == {"dropout": "off"}
    for arm in ("all of it", "no dropout"):
        assert rows[arm] == rows["all of it"]


def test_the_four_layers_have_four_layers():
    table = networks.make("four-layers", {"activation": "tanh"}).layers()
    assert [layer.op for layer in table] == ["conv", "tanh", "maxpool"] * 3 + ["fc"]
    assert [layer.out_shape for layer in table if layer.op == "maxpool"] == [(32, 14, 14), (32, 7, 7), (64, 3, 3)]
    # by hand: 32 * (3 * 25 + 1) + 32 * (32 * 25 + 1) + 64 * (32 * 25 + 1) + 10 * (64 * 9 + 1)
    assert networks.FourLayers().params == 2432 + 25632 + 51264 + 5770
    with pytest.raises(UserError, match="has no field 'depth'"):
        networks.make("four-layers", {"depth": 5})


# The plans and their records ------------------------------------------------------------------------------------------


def test_a_plan_has_trials_before_seeds_and_every_arm_of_a_seed_together():
    found = plan.load("fashion")
    units = found.units()
    assert len(units) == len(set(units)) == 2 * 4 + 2 * 5 + 9 * 5
    assert [unit.name for unit in units[:4]] == ["rate 0.003", "rate 0.003", "rate 0.01", "rate 0.01"]
    assert {unit.arm for unit in units[18:27]} == set(found.experiments["ablations"]["arms"])
    assert sum(map(found.minutes, units)) <= 160


def test_the_rate_is_the_one_that_was_first_at_its_target():
    one = {"rates": [0.1, 0.2, 0.3], "tuned_at": 0.1, "targets": [0.25, 0.1]}
    arm = {"rate 0.1": {"errors": [[1, 0.2], [2, 0.05]]}, "rate 0.2": {"errors": [[1, 0.5], [1.5, 0.1]]}}
    assert plan.best_rate(arm, one) is None  # a trial is missing
    assert plan.best_rate({**arm, "rate 0.3": {"errors": []}}, one) == 0.2
    late = {name: {"errors": run["errors"][:1]} for name, run in arm.items()}
    assert plan.best_rate({**late, "rate 0.3": {"errors": []}}, one) == 0.1  # the only one at 25 %


def test_plans_that_are_wrong_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="there is no plan 'nothing' \\(there are: digits, fashion"):
        plan.load("nothing")
    path = tmp_path / "x.toml"
    whole = (
        'data = "digits"\ntraining = 0\nheld_out = 0\nseeds = [0]\n[experiments.a]\narms = { b = { minutes = 1 } }\n'
    )
    for text, match in (
        ("data = [", "is not TOML"),
        (whole.replace("minutes", "hours"), "lacks 'minutes'"),
        (whole.replace("seeds", "sheds"), "is not a plan"),
        (whole.replace("{ b = { minutes = 1 } }", "3"), "is not a plan"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=match):
            plan.load(str(path))
    path.write_text(whole, encoding="utf-8")
    assert plan.load(str(path)).units() == [plan.Unit("a", "b", 0, None)]


def test_a_record_keeps_its_runs_and_refuses_another_plan(tmp_path):
    path, unit = tmp_path / "x.json", plan.Unit("x", "arm", 0, None)
    facts = {"data": "digits", "widths": (1, 2)}
    record.Record(path, facts).add(unit, {"errors": [[1, 0.5]]}, "2.0")
    again = record.Record(path, facts)
    assert again.has(unit) and not again.has(unit._replace(seed=1))
    assert again.arms["arm"]["seed 0"] == {"errors": [[1, 0.5]]}
    with pytest.raises(UserError, match="another version"):
        record.Record(path, {"data": "cifar10"})
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="is not a record"):
        record.Record(path, facts)


def finished(values):
    return {f"seed {seed}": {"held_out": [0.9, value], "training": [0.9, value], "lr": 0.1} for seed, value in values}


def test_the_sentences_say_what_the_interval_says():
    # t of 2 degrees of freedom is 4.303: 10 +- 4.303 * 1 / sqrt(3)
    low, high = effects.interval([9.0, 10.0, 11.0])
    assert (low, high) == pytest.approx((10 - 2.4843, 10 + 2.4843), abs=1e-3)
    base = list(enumerate((0.10, 0.11, 0.12)))
    arms = {"all": finished(base), "no LRN": finished([(s, v + 0.02 + s / 1000) for s, v in base])}
    arms["same"] = finished([(s, v + (s - 1) / 100) for s, v in base])
    arms["lost"] = {"seed 0": {"held_out": [], "training": [], "lr": 0.1, "diverged": True}}
    fields = {"input_size": 67, "widths": [8, 16, 24, 24, 16, 32, 32]}
    found = {"seeds": [0, 1, 2], "data": "digits", "torch": "2", "commit": None, "arms": arms}
    found["plan"] = {"network": "alexnet2012", "fields": fields, "arms": {arm: {} for arm in arms}}
    lines = effects.of_ablations(found)[2:]
    assert lines[0].startswith("- no LRN: worse; the mean difference is within +1.85 to +2.35 points; the paper: 1.4")
    assert lines[1].startswith("- same: no difference that these runs could show") and len(lines) == 2
    text = report.table(found)
    assert "| all | 150,872 | 11.00 ± 1.00 |  | 11.00 ± 1.00 |" in text.replace(f"{arm_params(fields):,}", "150,872")
    assert "| lost (1 diverged) |" in text and "Mean and standard deviation of 0 to 3 seeds" in text
    assert b"<svg" in figures.draw(found)


def arm_params(fields):
    return networks.make("alexnet2012", fields).params


# Runs ---------------------------------------------------------------------------------------------------------------

TINY = """data = "fashion-mnist"
training = 24
held_out = 8
seeds = [0, 1, 2]
[experiments.ablations]
network = "alexnet2012"
fields = { input_size = 67, widths = [8, 8, 8, 8, 8, 8, 8], num_classes = 3, profile = "torchvision" }
recipe = { init = "he", batch = 8, epochs = 2, lr = 0.001, schedule = "constant" }
arms = { "all of it" = { minutes = 0.1 }, "no LRN" = { minutes = 0.1, fields = { lrn = false } } }
[experiments.relu-tanh]
network = "four-layers"
fields = { num_classes = 3 }
recipe = { init = "pytorch", batch = 8, epochs = 1, dropout = "off", crop = "center", mean_image = false }
targets = [0.25, 0.1]
rates = [0.001, 1e9]
trial_seed = 9
tuned_at = 0.1
measured = 8
every = 1
arms = { relu = { minutes = 0.1 } }
"""


@pytest.fixture
def tiny(tmp_path):
    for name, count in (("train", 24), ("t10k", 8)):
        write_set(tmp_path, name, count, 1, zipped=False)
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    command = ["experiments", "--plan", tmp_path / "tiny.toml", "--data", tmp_path, "--results", tmp_path / "results"]
    return tmp_path, [str(one) for one in command]


@pytest.mark.slow
def test_a_plan_that_is_killed_goes_on_with_its_open_runs(tiny, capsys):
    folder, command = tiny
    path = folder / "results" / "ablations-tiny.json"
    program = [sys.executable, str(ROOT / "benchmarks" / "run.py"), *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        limit = time.monotonic() + 120
        while not path.exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
    before = json.loads(path.read_text(encoding="utf-8"))["arms"]
    done = sum(map(len, before.values()))
    assert 1 <= done < 6
    assert main([*command, "--status"]) == 0
    assert f"{done} of 11 runs are done" in capsys.readouterr().out
    assert main([*command, "--minutes", "0.05"]) == 0
    assert f"{11 - done} runs are open; the next takes about 0.1 minutes" in capsys.readouterr().out
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "11 of 11 runs are done" in said and said.count(" s\n") == 11 - done
    after = json.loads(path.read_text(encoding="utf-8"))["arms"]
    for arm, kept in before.items():
        assert {name: after[arm][name] for name in kept} == kept
    errors = json.loads((folder / "results" / "relu-tanh-tiny.json").read_text(encoding="utf-8"))["arms"]["relu"]
    assert errors["rate 1e+09"]["diverged"] and errors["seed 0"]["lr"] == 0.001
    assert len(errors["seed 1"]["errors"]) == 3


def test_mistakes_are_one_sentence(tiny, capsys):
    _, command = tiny
    for words, said in (
        (["experiments"], "name a plan with --plan"),
        ([*command, "--minutes", "0"], "--minutes must be above 0"),
        ([*command, "--data", "/nowhere"], "there is no /nowhere: apt install dataset-fashion-mnist"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err
    few = plan.load(command[2])
    with pytest.raises(UserError, match="needs 99 images of a set that has 24"):
        sources.sets(plan.Plan(few.name, few.data, 99, 0, [0], {}), Path(command[4]))


@pytest.mark.slow
@pytest.mark.fashion_mnist
def test_the_four_layers_learn_fashion_mnist():
    """An arm of the plan on its real images: relu at 0.01 comes to 25 % training error in its first 150 updates."""
    found = plan.load("fashion")
    one = found.experiments["relu-tanh"]
    short = {**one, "targets": [0.25], "measured": 400, "recipe": {**one["recipe"], "epochs": 5}}
    few = plan.Plan("short", found.data, 4000, 100, found.seeds, {"relu-tanh": short})
    result = runs.result_of(few, plan.Unit("relu-tanh", "relu", 0, None), 0.01, sources.sets(few, None))
    assert plan.reached(result["errors"], 0.25) is not None
    assert result["errors"][0][1] > 0.25 and not result.get("diverged")  # it was not there from the start


def test_cifar_is_read_from_its_binary_form(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    lines = [bytes([3 + i]) + one.transpose(2, 0, 1).tobytes() for i, one in enumerate(pixels)]
    (tmp_path / "data_batch_1.bin").write_bytes(b"".join(lines[:3]))
    (tmp_path / "test_batch.bin").write_bytes(lines[3])
    (tmp_path / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n", encoding="utf-8")
    training, validation = cifar_data.sets(tmp_path)
    assert [sample.label for sample in training.samples] == [3, 4, 5]
    assert np.array_equal(training.samples[1].source(), pixels[1])
    assert len(validation.samples) == 1 and validation.classes == list("abcdefghij")
    with pytest.raises(UserError, match="no data_batch"):
        cifar_data.sets(tmp_path / "nothing")
