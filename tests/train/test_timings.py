"""Where the time of a training run goes: the parts add up, and measuring them changes nothing."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fastalex import variants
from fastalex.train import data, recipes
from tests.train.test_idx import write_set

torch = pytest.importorskip("torch")

from fastalex.train import loop, timings  # noqa: E402
from fastalex.train.settings import Settings  # noqa: E402


def test_time_within_a_part_is_counted_once(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 6.0])
    monkeypatch.setattr(timings.time, "perf_counter", lambda: next(clock))
    found = timings.Timings()
    with found.part("update"), found.part("backward"):
        pass
    assert (found.seconds["backward"], found.seconds["update"]) == (2.0, 4.0)


def trained(kind, images, out):
    row = variants.get("alexnet2012", input_size=67, widths=(8, 16, 24, 24, 16, 32, 32), profile="torchvision")
    recipe = recipes.get("paper", init="he", batch=4, epochs=2, lr=1e-3)
    settings = Settings(data="", out=str(out), workers=0, device="cpu", tensorboard=False, quiet=True)
    run = kind(settings, recipe, row, images, images)
    return run, run.run()


def test_the_parts_of_a_run_add_up_and_change_nothing(tmp_path, capsys):
    write_set(tmp_path, "train", 9, 1, zipped=False)
    images = data.find(str(tmp_path))
    began = time.perf_counter()
    run, facts = trained(timings.TimedRun, images, tmp_path / "timed")
    wall = time.perf_counter() - began
    parts = facts.pop("timings")
    assert list(parts) == list(timings.PARTS) and min(parts.values()) > 0
    assert sum(parts.values()) < wall
    assert run.images == 18
    timings.show(run)
    said = capsys.readouterr().out
    assert all(name in said for name in timings.PARTS) and "images/s in the steps" in said
    _, plain = trained(loop.Run, images, tmp_path / "plain")
    assert {**facts, "out": ""} == {**plain, "out": ""}
    both = [(tmp_path / name / "steps.csv").read_bytes() for name in ("timed", "plain")]
    assert both[0] == both[1] and np.isfinite(facts["val_loss"])
