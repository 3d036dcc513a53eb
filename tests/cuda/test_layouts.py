"""Fully connected weights by column and by row on the emulator: one layout in memory, and no plan left with another."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest

from cuda_emulator.emulated import BACKEND, pretend
from fastalex import _core
from fastalex.runtime.precisions import SUPPORTED
from fastalex.selftest.cases import STORAGES
from fastalex.selftest.native import output
from tests.support.kernels import PRECISIONS

INPUTS, OUTPUTS = 1024, 1000
WEIGHTS = [storage for storage in SUPPORTED["cuda"]["fp16"] if storage != "fp32"]
MOST = 1.05  # of the memory of rows

pytestmark = pytest.mark.emulator
every_weight = pytest.mark.parametrize("storage", WEIGHTS)


def net_of(storage, *settings, first=()):
    """A layer whose batch 1 runs on columns and whose batch 3 runs on rows. ``first``: other rules before these."""
    rng = np.random.default_rng(3)
    params = [rng.standard_normal((OUTPUTS, INPUTS), np.float32), np.zeros(OUTPUTS, np.float32)]
    key = f"fp16 fc:{INPUTS}:{OUTPUTS}:{storage}"
    rules = [f"{key} {rule}" for rule in first]
    rules += [f"{key} 1 columns_half_{storage}_b1", f"{key} 1 stream_half_{storage}_b1"]
    rules += [f"{key} 3 stream_half_{storage}_b4"]
    return _core.Net(
        f"fc name=fc out={OUTPUTS}",
        [INPUTS, 1, 1],
        params,
        BACKEND,
        STORAGES.index(storage),
        precision=PRECISIONS.index("fp16"),
        tuning="\n".join([*rules, *settings]),
    )


def images(batch):
    x = np.random.default_rng(batch).standard_normal((batch, INPUTS, 1, 1)).astype(np.float16).astype(np.float32)
    x[x < 0] = 0
    return x


def format_of(net, batch):
    return json.loads(net.describe(_core.Call(shape=(batch, 1, 1))))["steps"][0]["format"]


def stored(net, storage):
    """What can be read back."""
    return [net.param(0)] + ([] if storage == "fp16" else list(net.quantized(0, OUTPUTS)))


def assert_equal(got, expected):
    for mine, other in zip(got, expected):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("device", ["nano", "gtx1650"])  # single launches, and graphs that hold addresses
@every_weight
def test_one_layout_is_resident(storage, device):
    """Columns while they serve, then rows for good; all that is read back stays the same."""
    with pretend(device):
        net = net_of(storage)
        rows_bytes, kept = net.param_bytes, stored(net, storage)
        by_column = output(net, images(1))
        assert format_of(net, 1) == "columns"
        assert rows_bytes < net.param_bytes <= MOST * rows_bytes
        assert_equal(stored(net, storage), kept)

        rows = net_of(storage)
        expected = {batch: output(rows, images(batch)) for batch in (3, 1)}
        for batch in (3, 1, 3, 1):
            np.testing.assert_array_equal(output(net, images(batch)), expected[batch])
            assert [format_of(net, each) for each in (1, 3)] == ["streamed", "streamed"]
            assert net.param_bytes == rows_bytes
        assert_equal(stored(net, storage), kept)
        assert np.abs(expected[1] - by_column).max() <= 4e-3 * np.abs(by_column).max()  # other order of the same sum


@every_weight
def test_rows_that_came_first_stay(storage):
    net = net_of(storage)
    rows_bytes = net.param_bytes
    for batch in (3, 1):
        output(net, images(batch))
        assert format_of(net, batch) == "streamed"
    assert net.param_bytes == rows_bytes


@every_weight
@pytest.mark.parametrize("first", [1, 3])
def test_both_layouts_on_request(first, storage):
    net, columns, rows = net_of(storage, "layouts both"), net_of(storage), net_of(storage)
    rows_bytes = net.param_bytes
    expected = {1: output(columns, images(1)), 3: output(rows, images(3))}
    for batch in (first, 4 - first, first):
        np.testing.assert_array_equal(output(net, images(batch)), expected[batch])
    assert [format_of(net, batch) for batch in (1, 3)] == ["columns", "streamed"]
    assert net.param_bytes == columns.param_bytes + rows_bytes - 4 * OUTPUTS  # one bias


def test_a_rule_that_never_fits_is_refused_after_rows_came_too():
    """Only one whose kernel gave way to the rows is passed over."""
    net = net_of("int8", first=["2 columns_half_int8_b1"])
    for _ in range(2):
        with pytest.raises(ValueError, match="names columns_half_int8_b1 .*cannot serve it"):
            output(net, images(2))
        output(net, images(3))
    output(net, images(1))


@pytest.mark.parametrize("device", ["nano", "gtx1650"])
def test_no_failed_allocation_loses_weights(device):
    """Each of those between a plan for columns and one for rows fails once: the net stays usable, all is read back."""
    with pretend(device):
        rows, columns = net_of("int4"), net_of("int4")
        kept, by_column = stored(rows, "int4"), output(columns, images(1))
        expected = {batch: output(rows, images(batch)) for batch in (3, 1)}
    for number in range(1, 20):
        with pretend(device):
            net, failed = net_of("int4"), []
            output(net, images(1))
            with pretend(fault=f"alloc:{number}"):
                for batch in (3, 1):
                    try:
                        output(net, images(batch))
                    except MemoryError:
                        failed.append(batch)
            assert_equal(stored(net, "int4"), kept)
            got = output(net, images(1))
            assert (got == expected[1]).all() or (failed == [3] and (got == by_column).all())
            for batch in (3, 1):
                np.testing.assert_array_equal(output(net, images(batch)), expected[batch])
            assert net.param_bytes == rows.param_bytes
        if not failed:
            break
    assert not failed
    assert number > 3  # values and scales of the rows, and the memory of a context for each batch


@pytest.mark.parametrize("settings", [(), ("layouts both",)])
def test_memory_for_one_layout_is_enough(settings):
    """Counted by the allocator: what was given up is free, and no context holds it."""
    with pretend("nano"):
        need = net_of("fp16").param_bytes
    with pretend(f"memory_bytes={int(2.7 * need)}"):  # both layouts fit while one is made of the other
        net = net_of("fp16", *settings)
        for batch in (1, 3, 1):
            output(net, images(batch))
        if settings:
            with pytest.raises(MemoryError):
                net_of("fp16")
        else:
            output(net_of("fp16"), images(3))


def test_calls_that_run_meanwhile():
    """A plan for three images takes the columns from threads with one, each with a context and a graph of its own."""
    net, fresh = net_of("int8"), net_of("int8")
    one, three = images(1), images(3)
    by_column, of_three = output(fresh, one), output(fresh, three)
    by_row, results, stop = output(fresh, one), [], threading.Event()

    def call():
        while not stop.is_set():
            results.append(output(net, one))

    def wait_for_more():
        until = len(results) + 6
        while len(results) < until:
            assert all(thread.is_alive() for thread in threads), "a call failed"
            time.sleep(0.001)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_for_more()
        np.testing.assert_array_equal(output(net, three), of_three)
        wait_for_more()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert (results[0] == by_column).all()
    assert (results[-1] == by_row).all()
    assert all((got == by_column).all() or (got == by_row).all() for got in results)
