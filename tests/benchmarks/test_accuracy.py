"""The benchmark of accuracy: its figures, its images, its document."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastalex import AlexNet, UserError
from fastalex.runtime import precisions

pytest.importorskip("sklearn")
from benchmarks.commands import accuracy as command
from benchmarks.commands import main
from benchmarks.measure import accuracy, accuracy_images
from benchmarks.report import accuracy as report

SETTINGS = [accuracy.Setting("fp32", "fp32"), accuracy.Setting("fp32", "fp16"), accuracy.Setting("fp32", "int8")]


def test_figures_of_known_logits():
    reference = np.array([[1.0, -4, 2], [3, 0, 0]])
    found = accuracy.compare(np.array([[1.0, -4, 2.5], [0, 0, 3]]), reference)
    assert found == {"max_relative_error": 1.0, "cosine": 0.0, "top1_agreement": 0.5}
    found = accuracy.compare(2 * reference, reference)
    assert found["max_relative_error"] == 1 and found["cosine"] == pytest.approx(1) and found["top1_agreement"] == 1


def test_every_combination_of_the_cpu_is_measured():
    found = accuracy.settings()
    assert len(found) == len(set(found))
    combinations = {(p, kind) for p, kinds in precisions.SUPPORTED["cpu"].items() for kind in kinds}
    assert {(one.precision, one.fc_weights) for one in found} == combinations
    assert [one for one in found if one.exact] == [accuracy.Setting("fp32", "fp32", True)]
    assert all((one.method is not None) == (one.precision == "int8") for one in found)


def test_images_and_calibration_images_are_different():
    net = AlexNet(weights="digits", device="cpu")
    data = accuracy_images.data_for(net, True)
    assert len(data.images) == 11 and len(data.calibration) == 16 and len(data.held) == len(data.labels) == 45
    everything = np.concatenate((data.calibration, data.held))
    assert len(np.unique(everything.reshape(len(everything), -1), axis=0)) >= len(everything) - 1
    pictures = accuracy_images.photographs()
    assert [picture.size for picture in pictures] == [(640, 427), (640, 427)]
    assert len(accuracy_images.views(pictures[0])) == 12


def test_a_quick_run_of_the_trained_network(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(accuracy, "settings", lambda: SETTINGS)
    out = tmp_path / "result.json"
    words = ["accuracy", "--quick", "--networks", "alexnet-digits", "--threads", "1", "--output", str(out)]
    assert main.main(words) == 0
    rows = json.loads(out.read_text())["rows"]
    errors = [row["max_relative_error"] for row in rows]
    assert 0 < errors[0] < 1e-5 and errors[0] < errors[1] < 1e-2 and errors[0] < errors[2] < 0.1
    assert all(row["cosine"] > 0.999 and row["held_out_accuracy"] > 0.95 for row in rows)
    assert "| fp32 | int8 |  | " in capsys.readouterr().out


def test_the_document_is_that_of_the_results():
    records = report.load()
    assert report.REPORT.read_text(encoding="utf-8") == report.render(records)
    for record in records:
        found = {(row["variant"], *(row[key] for key in accuracy.Setting._fields)) for row in record["rows"]}
        assert found == {(name, *one) for name in command.NETWORKS for one in accuracy.settings()}


def test_a_wrong_result_file_is_one_sentence(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UserError, match=r"x.json is not a result of the command accuracy"):
        report.load(tmp_path)
