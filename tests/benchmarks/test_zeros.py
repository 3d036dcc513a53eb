"""The measurement of what zeros save: its turns and ratios on played workers, and a run on the small network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fastalex
from fastalex import variants

if not (Path(__file__).resolve().parents[2] / "benchmarks").is_dir():
    pytest.skip("the benchmarks are only in a source checkout", allow_module_level=True)

from benchmarks.commands import main
from benchmarks.commands import zeros as command
from benchmarks.measure import zeros, zeros_worker
from benchmarks.measure.errors import EngineError, MeasurementError
from benchmarks.report import zeros as report

SITE = Path(fastalex.__file__).resolve().parents[1]
BASE = {"threads": 1, "cpus": []}


class PlayedWorker:
    """Takes 8 ms for density 1 and its share of that for others; the other build always takes 8 ms."""

    log: list = []  # noqa: RUF012

    def __init__(self, spec, module, variables):
        self.isa, self.other, self.closed = variables["FASTALEX_CPU_ISA"], "PYTHONPATH" in variables, False
        assert module == "measure.zeros_worker"

    def __call__(self, do, **words):
        if do == "facts":
            if self.isa == "v9":
                raise EngineError("this processor does not have it")
            file = (SITE if self.other else Path("/elsewhere")) / "fastalex" / "__init__.py"
            return {"isa": self.isa, "version": "0", "build": {}, "file": str(file)}
        self.log.append((do, self.isa, self.other, words.get("case") or words.get("fc_weights")))
        names = ("as drawn", "1", "0.5", zeros.DIGITS)
        if do == "load":
            share = {"fc6": 0.5, "fc7": 0.5, "fc8": 0.5}
            return {
                "logits": {n: n + str(self.other and n == "0.5") for n in names},
                "density": dict.fromkeys(names, share),
            }
        ms = 8.0 if self.other or words["case"] != "0.5" else 4.0
        return {
            "layers": [{"fc6": ms / 2, "fc7": ms / 4, "fc8": ms / 4}] * words["calls"],
            "total_ms": [10 + ms] * words["calls"],
        }

    def close(self):
        self.closed = True


@pytest.fixture
def played(monkeypatch):
    monkeypatch.setattr(zeros, "PAUSE_S", 0)
    names = ("as drawn", "1", "0.5", zeros.DIGITS)
    monkeypatch.setattr(zeros, "networks", lambda folder, densities, threads: [{"name": name} for name in names])
    monkeypatch.setattr(PlayedWorker, "log", [])
    return PlayedWorker.log


def test_builds_and_densities_take_turns(played, tmp_path):
    one = zeros.Measurement(BASE, SITE, lambda line: None, 0.0, PlayedWorker)
    one.run(tmp_path, ["v3", "v9"], ["int8"], [1.0, 0.5])
    assert one.left_out == {"v9": "v9: this processor does not have it"}
    bursts = [(other, case) for do, _, other, case in played if do == "burst"]
    rounds = [bursts[at : at + 8] for at in range(0, len(bursts), 8)]
    assert len(rounds) == zeros.FEWEST_ROUNDS
    assert all(len(set(turn)) == 8 for turn in rounds)
    assert len({tuple(turn) for turn in rounds}) > 1, "the turns are shuffled"
    rows = {row["case"]: row for row in one.rows}
    half = rows["0.5"]
    assert (half["fc_ms"], half["fc6_ms"], half["total_ms"]) == (4.0, 2.0, 14.0)
    assert half["runs"] == zeros.FEWEST_ROUNDS * zeros.CALLS
    assert (half["times_dense"], half["ratio"]) == (2.0, 2.0)
    assert half["total_ratio"] == pytest.approx(18 / 14)
    assert (half["same_bits"], rows["1"]["same_bits"]) == (False, True)
    assert rows[zeros.DIGITS]["times_dense"] is None, "another network"
    record = {"rows": one.rows, "left_out": one.left_out}
    text = "".join(" ".join(report._line(row)) + "\n" for row in record["rows"])
    assert "int8 0.5 0.500 0.500 0.500 4.00 2.00 8.00 2.00 1.29 DIFFERENT" in text
    assert "int8 1 0.500 0.500 0.500 8.00 1.00 8.00 1.00 1.00 same" in text


def test_the_other_build_is_the_one_that_was_named(played, tmp_path):
    one = zeros.Measurement(BASE, tmp_path, lambda line: None, 0.0, PlayedWorker)
    with pytest.raises(MeasurementError, match="was to be loaded from"):
        one.run(tmp_path, ["v3"], ["int8"], [1.0])


def test_without_an_instruction_set_there_is_nothing(played, tmp_path):
    one = zeros.Measurement(BASE, None, lambda line: None, 0.0, PlayedWorker)
    with pytest.raises(MeasurementError, match="does not have it"):
        one.run(tmp_path, ["v9"], ["int8"], [1.0])


def test_the_worker_sums_the_steps_of_each_layer():
    steps = [("relu5", 0.001), ("relu6", 0.004), ("relu7", 0.002), ("fc8", 0.001)]

    class Net:
        variant = variants.get("torchvision")

        def profile(self, images):
            return steps

    found = zeros_worker.burst(Net(), [None], 2)
    assert found["layers"] == [pytest.approx({"fc6": 4.0, "fc7": 2.0, "fc8": 1.0})] * 2
    assert found["total_ms"] == pytest.approx([8.0, 8.0])


@pytest.mark.slow
def test_a_run_on_the_small_network(monkeypatch, tmp_path, capsys):
    """Two real processes, of which one is to be the other build: here it is the same."""
    from fastalex import _core

    isa = str(_core.cpu_isa())
    monkeypatch.setattr(zeros, "VARIANT", "alexnet-digits")
    path = tmp_path / "out.json"
    words = f"zeros --isa {isa} --fc-weights int8 --density 1 0.35 --threads 1 --seconds 0".split()
    assert main.main([*words, "--against", str(SITE), "--output", str(path)]) == 0
    record = json.loads(path.read_text())
    rows = {row["case"]: row for row in record["rows"]}
    assert list(rows) == ["as drawn", "1", "0.35", zeros.DIGITS]
    two = 2 / 192  # of fc8's inputs: the biases are chosen in fp32, and int8 moves values that are near zero
    assert all(share == pytest.approx(0.35, abs=two) for share in rows["0.35"]["density"].values())
    assert set(rows["1"]["density"].values()) == {1.0}
    assert rows[zeros.DIGITS]["density"]["fc7"] == pytest.approx(0.285, abs=0.006)
    for row in record["rows"]:
        assert 0 < row["fc_min_ms"] <= row["fc_ms"]
        assert 0 < row["fc6_ms"] < row["fc_ms"] < row["total_ms"]
        assert row["same_bits"] is True
        assert row["ratio"] == pytest.approx(row["against"]["fc_ms"] / row["fc_ms"])
    assert record["against"]["version"] == fastalex.__version__
    assert str(tmp_path) not in path.read_text()
    assert "same" in capsys.readouterr().out
    assert command.RESULTS.parts[-2:] == ("zeros", "cpu")
