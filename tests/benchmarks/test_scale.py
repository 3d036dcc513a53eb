"""The benchmark of read-outs by several processes: its rows, its model, and the document made of them."""

from __future__ import annotations

import math

import pytest

from benchmarks import scaling
from benchmarks.measure import scale
from benchmarks.measure.errors import WrongResultError
from benchmarks.report import scale as text

NETWORK = {
    "title": "a network", "layer": "fc7", "images": 100, "image_bytes": 1e5, "row_bytes": 2e5,
    "parts": {"read_and_decode_s": 0.01, "compute_s": 0.01, "write_s": 0.001, "merge_s": 1e-4},
    "rows": [
        {"name": "1 process", "workers": 1, "images_per_s": 50.0, "first_s": 1.0, "peak_mib": 100.0},
        {"name": "2 processes", "workers": 2, "images_per_s": 90.0, "first_s": 1.0, "peak_mib": 110.0},
        {"name": "Ray, 1 actor", "workers": 1, "images_per_s": 40.0, "first_s": 9.0, "peak_mib": 200.0, "ray": True,
         "driver_peak_mib": 300.0, "driver_s": 0.004, "received": 2.5e5, "sent": 1e6, "cluster_s": 5.0},
        {"name": "Ray, 2 actors", "workers": 2, "images_per_s": 70.0, "first_s": 9.0, "peak_mib": 200.0, "ray": True,
         "driver_peak_mib": 300.0, "driver_s": 0.005, "received": 2.5e5, "sent": 1e6, "cluster_s": 5.0},
    ],
}  # fmt: skip


def test_the_model_names_the_lowest_limit():
    by_hand = [(10, 500.0, scaling.COMPUTE), (100, 5000.0, scaling.COMPUTE), (1000, 6250.0, scaling.RESULT_LINK)]
    assert [row[:3] for row in scaling.predicted(NETWORK, ray=False)] == by_hand
    hours = scaling.predicted(NETWORK, ray=False)[0][3]
    assert math.isclose(hours, 1281167 * (1 / 500 + 1e-4) / 3600)
    by_hand = [(10, 200.0, scaling.DRIVER), (100, 200.0, scaling.DRIVER), (1000, 200.0, scaling.DRIVER)]
    assert [row[:3] for row in scaling.predicted(NETWORK, ray=True)] == by_hand


def test_rows_of_processes_that_run_side_by_side():
    one = {"images": 30, "steady_s": 2.0, "first_s": 0.5, "peak_mib": 10.0}
    two = {"images": 40, "steady_s": 4.0, "first_s": 0.7, "peak_mib": 9.0}
    want = {"name": "x", "workers": 2, "images_per_s": 25.0, "first_s": 0.7, "peak_mib": 10.0}
    assert scale.row("x", [one, two]) == want
    with pytest.raises(WrongResultError, match="1 actors computed, not 2"):
        scale.ray_row(2, dict(one, workers=1))


def test_other_values_end_the_measurement(tmp_path):
    for name, content in (("one", b"same"), ("two", b"same"), ("ray1", b"same, or not")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fc7.npy").write_bytes(content)
    scale.check(tmp_path, "fc7.npy", ["two"])
    with pytest.raises(WrongResultError, match="ray1 has other values than one process"):
        scale.check(tmp_path, "fc7.npy", ["two", "ray1"])


@pytest.mark.slow
def test_a_small_measurement(tmp_path, monkeypatch):
    monkeypatch.setitem(scale.NETWORKS, "digits", dict(scale.NETWORKS["digits"], count=96))
    found = scale.measure("digits", tmp_path, quick=False, with_ray=False)
    assert [row["workers"] for row in found["rows"]] == [1, 2] and found["row_bytes"] > 4 * 192
    assert all(row["images_per_s"] > 0 and row["peak_mib"] > 10 for row in found["rows"])
    assert all(value > 0 for value in found["parts"].values())
    assert "| 2 processes, a shard each |" in text.rate_table(found)


def test_tables_say_what_is_a_model():
    assert "| Ray, 2 actors | 70.0 | 88 % |" in text.rate_table(NETWORK)
    assert text.model_table(NETWORK).startswith("| **model, not measured** |")
    without = dict(NETWORK, rows=NETWORK["rows"][:2])
    assert "Ray" not in text.model_table(without) + text.rate_table(without) + text.parts_line(without)


def test_the_document_comes_from_the_results():
    found = text.load()
    assert found and not any(one["quick"] for one in found)
    document = text.REPORT.read_text(encoding="utf-8")
    assert f"<!-- begin {text.NAME} -->\n\n{text.render(found)}\n<!-- end {text.NAME} -->" in document
