"""The experiments: their document says what their committed results say, and each arm is the network it claims."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from benchmarks.experiments import arms, cifar_data, report, runs
from fastalex import UserError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "experiments" / "results"
DOCUMENT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def between(name):
    return DOCUMENT.partition(f"<!-- begin {name} -->")[2].partition(f"<!-- end {name} -->")[0].strip()


@pytest.mark.parametrize("name", ["relu-tanh-digits", "ablations-digits"])
def test_the_document_has_the_tables_of_the_results(name):
    record = json.loads((RESULTS / (name + ".json")).read_text(encoding="utf-8"))
    assert between(name) == report.table(record).strip()
    written = (RESULTS / (name + ".svg")).read_bytes()
    matplotlib = pytest.importorskip("matplotlib")
    if (f"Matplotlib v{matplotlib.__version__},").encode() in written:
        assert written == report.draw(record), "run: python benchmarks/run.py report experiments"
    for arm in record["arms"].values():
        assert sum(key.startswith("seed") for key in arm) >= 3


def test_the_document_has_the_bytes_that_were_counted():
    record = json.loads((RESULTS / "traffic.json").read_text(encoding="utf-8"))
    rows = between("traffic").splitlines()[2:]
    assert len(rows) == len(record["cases"]) == 5
    for row, case in zip(rows, record["cases"]):
        cells = [cell.strip(" `") for cell in row.strip("|").split("|")]
        assert cells[:2] == [case["scheme"], str(case["processes"])]
        assert float(cells[2]) == pytest.approx(sum(case["sent"].values()) / 1e6, abs=0.05)


def test_each_arm_differs_in_its_one_idea():
    base = arms.arm_network("all of it", {}).layers()
    rows = {name: arms.arm_network(name, arm[0]) for name, arm in arms.ARMS.items()}

    def ops(name):
        return [layer.op for layer in rows[name].layers()]

    plain = rows["plain pooling (2 x 2, stride 2)"].layers()
    assert [layer.options["kernel"] for layer in plain if layer.op == "maxpool"] == [2, 2, 2]
    assert [layer.out_shape for layer in plain] == [layer.out_shape for layer in base]
    assert ops("no LRN") == [layer.op for layer in base if layer.op != "lrn"]
    assert {layer.options["groups"] for layer in rows["one column"].layers() if layer.op == "conv"} == {1}
    assert "relu" not in ops("tanh") and ops("tanh").count("tanh") == 7
    recipes = {name: arm[1] for name, arm in arms.ARMS.items()}
    assert recipes["no dropout"] == {"dropout": "off"}


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


def test_a_record_does_not_repeat_its_runs(tmp_path):
    path = tmp_path / "x.json"
    facts = {"data": "digits", "widths": (1, 2)}
    first = runs.Record(path, facts)
    assert first.run("arm", "seed 0", lambda: [1.0]) == [1.0]
    again = runs.Record(path, facts)
    assert again.run("arm", "seed 0", lambda: pytest.fail("it is there")) == [1.0]
    with pytest.raises(UserError, match="another version"):
        runs.Record(path, {"data": "cifar10"})
