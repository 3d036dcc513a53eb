"""Damage at random, some hundred times a format (`--mutations N`): sound arrays or one sentence, in little memory and
time."""

from __future__ import annotations

import math
import random
import time
import tracemalloc

import numpy as np
import pytest

from fastalex import variants, weights
from fastalex.errors import UserError
from fastalex.weights import adapt, initial

hypothesis = pytest.importorskip("hypothesis")
pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("google.protobuf")
from hypothesis import strategies as st  # noqa: E402

from tests.support import file_writers  # noqa: E402

pytestmark = pytest.mark.peers

EACH = 8  # files per drawn seed: drawing costs more than reading
MEMORY = 40 << 20  # bytes allowed for a file of some kilobytes
SECONDS = 2.0  # per file
ROW = variants.get("caffenet", widths=(2, 2, 2, 2, 2, 3, 3), num_classes=2)
ARRAYS = initial.random_weights(ROW)
KINDS = file_writers.every_kind(ROW, ARRAYS)
MAKERS = {**KINDS, **file_writers.every_container("net.safetensors", KINDS["net.safetensors"])}


def structure(data):
    """Positions outside zeros and the data of large arrays, where damage matters most."""
    text = np.frombuffer(data, np.uint8)
    runs = np.convolve((text >= 32) & (text < 127), np.ones(4), "same") >= 3
    return [int(place) for place in np.flatnonzero(runs)] or [0]


LIES = [b"\xff", b"\xff\xff\xff\xff", b"\x00" * 4, b"\x7f\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x10", b""]


def damaged(data, places, chance):
    """``data`` with one to four pieces replaced, inserted or taken away, and sometimes cut."""

    def place():
        return chance.choice([chance.choice(places), chance.randrange(len(data)), chance.randrange(64)])

    for _ in range(chance.randint(1, 4)):
        position = max(0, place() + chance.randint(-4, 4))
        insert = chance.choice([bytes(chance.choices(range(256), k=chance.randint(0, 9))), chance.choice(LIES)])
        data = data[:position] + insert + data[position + chance.choice([len(insert), chance.randint(0, 9)]) :]
    return data[: place()] if chance.random() < 0.3 else data


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_a_damaged_file_is_refused_or_read(tmp_path, name, request):
    examples = request.config.getoption("--mutations")
    path = tmp_path / name
    sound = MAKERS[name]()
    path.write_bytes(sound)
    assert adapt.find(weights.load(path)).variant.widths == ROW.widths
    outcomes = {"read": 0, "refused": 0}
    places = structure(sound)

    @hypothesis.settings(max_examples=examples // EACH, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.integers(0, 2**32))
    def run(seed):
        for index in range(EACH):
            one(seed + index)

    def one(seed):
        path.write_bytes(damaged(sound, places, random.Random(seed)))
        tracemalloc.start()
        start = time.perf_counter()
        try:
            loaded = weights.load(path)
        except UserError as error:
            loaded = None
            assert str(path) in str(error) and "\n" not in str(error)
            outcomes["refused"] += 1
        seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY
        assert seconds < SECONDS
        if loaded is not None:
            outcomes["read"] += 1
            assert sum(array.nbytes for array in loaded.arrays.values()) < MEMORY
            for array in loaded.arrays.values():
                assert array.size == math.prod(array.shape)
                with np.errstate(all="ignore"):
                    np.asarray(array).sum()  # every byte can be touched
            try:
                loaded.calibration()
                adapt.fit(loaded, adapt.find(loaded).variant)
            except UserError as error:
                assert "\n" not in str(error)

    run()
    assert outcomes["refused"] > examples // 10, outcomes
