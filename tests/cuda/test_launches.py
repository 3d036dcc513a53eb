"""What the emulator writes of launches instead of running them, which the prediction of times is made from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cuda_emulator import emulated
from fastalex import BackendError
from tests.support.small_net import batch_of, small
from tools.cuda_gate import plans, predict

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("own_cache")]


def test_launches_are_written_and_not_run(parameters, tmp_path, monkeypatch):
    """Of a card that replays a graph, and of one that launches one kernel after the other."""
    for card in ("rtx30", "nano"):
        path = tmp_path / card
        with emulated.pretend(card):
            net = small(parameters)
            expected = net(batch_of(1))
            monkeypatch.setenv("FASTALEX_EMULATED_LAUNCHES", str(path))
            net(batch_of(1))
            monkeypatch.delenv("FASTALEX_EMULATED_LAUNCHES")
            np.testing.assert_array_equal(net(batch_of(1)), expected)
        written = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert len(written) > 5
        for one in written:
            assert set(one) == {"kernel", "grid", "threads", "shared_bytes", "arguments"}
            assert len(bytes.fromhex(one["arguments"])) == 192
            assert one["threads"] > 0 and min(one["grid"]) > 0


def test_a_file_that_cannot_be_written_is_named(parameters, tmp_path, monkeypatch):
    with emulated.pretend("nano"):
        net = small(parameters)
        monkeypatch.setenv("FASTALEX_EMULATED_LAUNCHES", str(tmp_path / "nowhere" / "file"))
        with pytest.raises((BackendError, ValueError), match=r"FASTALEX_EMULATED_LAUNCHES: .*file cannot be written"):
            net(batch_of(1))


@pytest.mark.slow
def test_a_call_launches_what_its_plan_says(emulated):
    case = ("alexnet2012", "fp16", "int8", 1)
    library = plans.Path(emulated.library())
    steps = plans.read_plans(library, "nano", [case])[case]["steps"]
    found = predict.launches_of(steps, plans.read_launches(library, "nano", case))
    assert [len(own) for own in found] == [len(step["kernels"]) for step in steps]
    for step, own in zip(steps, found):
        assert [list(one.grid) for one in own] == [kernel["grid"] for kernel in step["kernels"]]
