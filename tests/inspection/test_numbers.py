"""Occlusion, confusion, zeros, times and traces: against what they are made of."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastalex import AlexNet, UserError, density
from fastalex.cli.main import main
from fastalex.hardware import devices
from fastalex.hardware.roofline import roofline as predicted
from fastalex.inspection import confusion, occlusion, pictures, roofline, steps, timeline, zeros
from fastalex.inspection.inputs import computed
from fastalex.quantize import calibrate

DIGITS = sorted((Path(__file__).resolve().parents[2] / "examples" / "digits").glob("*.png"))


@pytest.fixture(scope="module")
def net():
    return AlexNet(weights="digits", device="cpu")


# occlusion


def test_occlusion_is_what_gray_squares_on_the_picture_do(net):
    """The pixels of the picture itself are covered, and it is classified again, place by place."""
    done = []
    found = occlusion.occlusion(net, DIGITS[14], places=5, batch=4, report=lambda *numbers: done.append(numbers))
    assert found.index == 7 and found.patch == 26 and done[-1] == (25, 25) and done[0] == (4, 25)
    picture = pictures.input_picture(net, DIGITS[14])
    assert found.whole == net.predict_proba(picture)[0, 7]
    for row, column in np.ndindex(5, 5):
        top, left = (round((place + 0.5) * 131 / 5 - 13) for place in (row, column))
        covered = picture.copy()
        covered[max(0, top) : top + 26, max(0, left) : left + 26] = 128
        assert found.probability[row, column] == pytest.approx(net.predict_proba(covered)[0, 7], rel=1e-5)
    np.testing.assert_allclose(found.heat, (1 - found.probability / found.whole).clip(0, 1), rtol=1e-6)
    assert found.heat.max() > 0.2


def test_occlusion_does_not_depend_on_the_batch(net):
    maps = [occlusion.occlusion(net, DIGITS[0], 3, places=4, batch=batch).probability for batch in (1, 16)]
    np.testing.assert_array_equal(*maps)


def test_occlusion_of_13_places_covers_the_whole_input():
    along = occlusion.spans(224, 13, 45)
    assert along[0][0] == 0 and along[-1][1] == 224 and len(along) == 13
    assert all(start < end_before for (_, end_before), (start, _) in zip(along, along[1:]))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"places": 0}, "places must be a whole number above 0"),
        ({"places": 132}, "places must be at most 131"),
        ({"patch": 132}, "patch must be at most 131"),
        ({"index": -1}, "there is no class -1"),
        ({"index": True}, "there is no class True"),
    ],
)
def test_mistakes_of_occlusion_are_one_sentence(net, options, sentence):
    with pytest.raises(UserError, match=sentence):
        occlusion.occlusion(net, DIGITS[0], **options)


def test_probabilities_that_are_not_numbers_are_one_sentence(net):
    arrays = net.state_dict()
    arrays["fc8.bias"][0] = np.nan
    broken = AlexNet("alexnet-digits", weights=arrays, device="cpu")
    with pytest.raises(UserError, match="the probabilities have NaN or infinity"):
        occlusion.occlusion(broken, DIGITS[0])


# confusion


@pytest.fixture
def labeled(tmp_path):
    """A folder a class; the pictures of 3 are also among those of 5, and one cannot be read."""
    place = tmp_path / "labeled"
    for path in DIGITS:
        for name in {path.name[6], path.name[6].replace("3", "5")}:
            (place / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place / name)
    (place / "0" / "bad.png").write_bytes(b"bad")
    return place


def test_each_image_counts_at_its_class_and_the_answer(net, labeled):
    done = []
    found = confusion.confusion(net, str(labeled), batch=7, report=lambda *numbers: done.append(numbers))
    expected = np.zeros((10, 10), int)
    for path in labeled.glob("*/digit*.png"):
        expected[int(path.parent.name), net.classify(path)[0].index] += 1
    np.testing.assert_array_equal(found.counts, expected)
    assert found.counts[5, 3] == 2 and found.counts.sum() == found.scores["images"] == 22
    assert found.pairs(5) == [("5", "3", 2, 0.5)] and found.shown() == list(range(10))
    assert len(found.left_out) == 1 and done[-1] == (23, 23)
    with pytest.raises(UserError, match="1 images cannot be read, more than --bad-limit 0 allows"):
        confusion.confusion(net, str(labeled), bad_limit=0)


def test_classes_without_images_are_not_shown():
    counts = np.zeros((6, 6), int)
    counts[1, 4], counts[2, 2], counts[2, 1], counts[2, 0] = 3, 5, 1, 1
    found = confusion.Confusion(counts, list("abcdef"), {}, {})
    assert found.shown() == [0, 1, 2, 4]
    assert found.pairs(2) == [("b", "e", 3, 1.0), ("c", "a", 1, 1 / 7)]


def test_evaluate_prints_the_mistakes(net, labeled, capsys):
    assert main(["evaluate", str(labeled), "--weights", "digits", "--confusion"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.split()[:1] == ["5"]] == [["5", "3", "2", "50.0"]]
    assert main(["evaluate", str(labeled), "--weights", "digits", "--confusion", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["confusion"]["labels"] == net.labels and np.trace(document["confusion"]["counts"]) == 20
    assert main(["evaluate", str(labeled), "--weights", "digits", "--json"]) == 0
    assert "confusion" not in json.loads(capsys.readouterr().out)


# zeros


def test_zeros_are_counted_in_every_layer(net):
    shares = zeros.zeros(net, DIGITS[:6])
    assert list(shares) == list(computed(net.variant))
    counted = density.means(density.measure(net, [str(path) for path in DIGITS[:6]]))
    for layer, source in density.inputs(net.variant).items():
        assert 1 - shares[source] == pytest.approx(counted[layer])
    assert shares["conv1"] == 0 and 0.2 < shares["relu7"] < 0.9
    with pytest.raises(UserError, match="there are no images"):
        zeros.zeros(net, [])


# times


def test_each_layer_belongs_to_one_step(net):
    for batch in (1, 3):
        measured = steps.measure(net, batch, 2)
        assert [name for step in measured for name in step.layers] == list(computed(net.variant))
        assert all(len(step.seconds) == 2 and min(step.seconds) > 0 for step in measured)
    with pytest.raises(UserError, match="batch must be at most 4096"):
        steps.measure(net, 5000)


def test_steps_without_a_time_of_their_own_belong_to_the_next():
    joined = steps._joined(list("abcdef"), list("bcf"), [[1.0, 0.0, 2.0], [3.0, 0.0, 4.0]])
    assert joined == [(("a", "b"), (1.0, 3.0)), (("c", "d", "e", "f"), (2.0, 4.0))]


@pytest.mark.parametrize(("batch", "stored"), [(1, "fp32"), (4, "fp32"), (4, "int8")])
def test_floors_are_those_of_the_roofline(batch, stored):
    net = AlexNet(weights="digits", device="cpu", fc_weights=stored)
    ceiling = roofline.card(net, "nano")
    times = roofline.measure(net, batch, 2, ceiling)
    x = np.random.default_rng(0).standard_normal((1, 3, 131, 131), np.float32)
    shares = list(density.means(density.measure(net, x)).values()) if batch == 1 else None
    wide, narrow = (predicted(net.variant, ceiling.card, name, batch, shares) for name in ("fp32", stored))
    expected = {a.name: a if a.op == "conv" else b for a, b in zip(wide.layers, narrow.layers)}
    for row in times.rows:
        parts = [expected[name] for name in row.layers if name in expected]
        assert row.floor_ms == sum(part.ms for part in parts) and row.flop == sum(part.flop for part in parts)
        assert (row.bound is None) == (not parts) and row.ms > 0
    assert times.card == ceiling.card.name and times.basis == "data sheet" and times.batch == batch
    if batch > 1:
        assert sum(row.flop for row in times.rows) == 2 * batch * net.variant.macs


def test_a_processor_is_measured(net, monkeypatch):
    monkeypatch.setattr(roofline, "_VALUES", 1 << 20)
    monkeypatch.setattr(roofline, "_TRIALS_S", 0.0)
    ceiling = roofline.card(net)
    assert ceiling.basis == "measured" and ceiling.card.name == devices.cpu().model
    assert ceiling.card.peak_tflops("fp32") > 0.001 and ceiling.card.bandwidth_gb_s > 0.1
    slow = dataclasses.replace(ceiling.card, clock_mhz=1.0, bandwidth_gb_s=1e-3)
    times = roofline.measure(net, 2, 1, roofline.Ceiling(slow, "measured"))
    assert all(row.floor_ms <= row.ms * 1.000001 for row in times.rows), "no step is faster than a ceiling"
    assert times.peak_tflops == pytest.approx(max(row.flop / row.ms for row in times.rows) / 1e9)
    assert times.bandwidth_gb_s == pytest.approx(max(row.bytes / row.ms for row in times.rows) / 1e6)


def test_a_network_without_a_model_has_no_floor(net):

    narrow = AlexNet(weights="digits", device="cpu", precision="int8", calibration=calibrate(net, DIGITS))
    times = roofline.measure(narrow, 1, 1, roofline.card(net, "nano"))
    assert times.card is None and all(row.floor_ms is None and row.bound is None for row in times.rows)
    assert times.rows[0].flop > 0


def test_names_of_cards_are_checked(net):
    assert roofline.card(net, "rtx30:RTX 3090").card.name == "GeForce RTX 3090"
    with pytest.raises(UserError, match="rtx30 is .* cards; name one of"):
        roofline.card(net, "rtx30")
    with pytest.raises(UserError, match="there is no device 'gtx1060'"):
        roofline.card(net, "gtx1060")


# traces

#: Chrome's "Trace Event Format": the fields that an event of each kind must have, and their types.
FIELDS = {
    "X": {"name": str, "cat": str, "ts": (int, float), "dur": (int, float), "pid": int, "tid": int, "args": dict},
    "M": {"name": str, "pid": int, "tid": int, "args": dict},
}


def check_trace(document):
    assert set(document) <= {"traceEvents", "displayTimeUnit", "otherData"}
    assert document["displayTimeUnit"] in ("ms", "ns")
    assert all(isinstance(value, str) for value in document["otherData"].values())
    ends = {}
    for event in document["traceEvents"]:
        fields = FIELDS[event["ph"]]
        assert set(event) == {"ph", *fields}
        assert all(isinstance(event[name], kind) for name, kind in fields.items())
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name") and set(event["args"]) == {"name"}
        else:
            assert event["dur"] >= 0 and event["ts"] >= ends.get(event["tid"], 0) - 1e-6, "steps do not overlap"
            ends[event["tid"]] = event["ts"] + event["dur"]
    return ends


def test_a_trace_has_the_steps_of_each_run(net):
    document = json.loads(json.dumps(timeline.trace(net, 2, 3), allow_nan=False))
    assert len(check_trace(document)) == 3
    for run in (1, 2, 3):
        events = [event for event in document["traceEvents"] if event["tid"] == run and event["ph"] == "X"]
        assert [name for event in events for name in event["args"]["layers"]] == list(computed(net.variant))
        assert sum(event["args"]["macs"] for event in events) == 2 * net.variant.macs
        assert events[-1]["args"]["output"] == [10]


def test_bench_writes_a_trace(tmp_path, capsys):
    path = tmp_path / "trace.json"
    assert main(["bench", "--weights", "digits", "--repeat", "1", "--trace", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["variant"] == "alexnet-digits"
    check_trace(json.loads(path.read_text()))
    assert main(["bench", "--weights", "digits", "--trace", str(tmp_path / "none" / "trace.json")]) == 2
    assert "trace.json cannot be written: No such file" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["trace.json"]
