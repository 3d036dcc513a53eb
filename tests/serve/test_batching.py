"""Dynamic batching: what is joined, who comes first, and what becomes of requests that cannot be answered."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastalex import BackendError
from fastalex.serve.batching import ClosedError
from fastalex.serve.errors import ServiceError
from tests.support.held_engine import HeldEngine


def run(scenario, **options):
    """Run ``scenario(engine)`` on a loop, and drain the engine."""
    engine = HeldEngine(**options)
    try:
        result = asyncio.run(asyncio.wait_for(scenario(engine), 30))
    finally:
        engine.free()
        engine.pipeline.close(20)
    return result


async def status(task):
    with pytest.raises(ServiceError) as caught:
        await task
    assert str(caught.value).count("\n") == 0
    return caught.value.status


def test_what_waits_is_joined_up_to_the_largest_batch():
    async def scenario(engine):
        first = await engine.occupied()
        tasks = [engine.send(float(i), client=str(i)) for i in range(6)]
        await engine.queued(6)
        engine.free()
        assert await asyncio.gather(first, *tasks) == [[-2.0], *([2.0 * i] for i in range(6))]
        assert [len(call) for call in engine.calls] == [1, 4, 2]

    run(scenario)


def test_a_large_request_is_split_and_joined():
    async def scenario(engine):
        rows = [float(i) for i in range(11)]
        assert await engine.ask(*rows) == [2 * row for row in rows]
        assert engine.calls == [rows[:4], rows[4:8], rows[8:]]

    run(scenario)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 7), st.integers(0, 3), st.sampled_from("xy"), st.booleans()), max_size=25),
    st.integers(1, 6),
)
def test_everybody_gets_the_own_rows(requests, max_batch):
    async def scenario(engine):
        tasks, wanted = [], []
        for number, (count, client, output, decoded) in enumerate(requests):
            rows = [100.0 * number + row for row in range(count)]
            tasks.append(engine.send(*rows, client=str(client), output=output, decoded=decoded))
            wanted.append([2 * row for row in rows])
        assert await asyncio.gather(*tasks) == wanted

    run(scenario, max_batch=max_batch, decoders=2)


def test_a_client_that_is_alone_never_waits():
    async def scenario(engine):
        began = time.monotonic()
        for row in range(5):
            await engine.ask(float(row))
        assert time.monotonic() - began < 10

    run(scenario, max_delay=60.0)


def test_a_free_engine_waits_for_images_that_are_decoded():
    gate = threading.Event()

    def slow(row):
        assert row == 0 or gate.wait(20)
        return row

    async def scenario(engine):
        tasks = [engine.send(float(row), client=str(row), decoded=True) for row in range(3)]
        await asyncio.sleep(0.1)
        assert not engine.calls
        gate.set()
        await asyncio.gather(*tasks)
        assert [sorted(call) for call in engine.calls] == [[0.0, 1.0, 2.0]]

    run(scenario, max_delay=60.0, prepare=slow, decoders=3)


def test_it_waits_no_longer_than_the_delay():
    gate = threading.Event()

    async def scenario(engine):
        late = engine.send(1.0, client="late", decoded=True)
        await engine.queued(1)
        began = time.monotonic()
        assert await engine.ask(0.0) == [0.0]
        assert time.monotonic() - began >= 0.2
        gate.set()
        assert await late == [2.0]

    run(scenario, max_delay=0.2, prepare=lambda row: gate.wait(20) and row)


def test_clients_who_were_answered_together_come_together_again():
    async def scenario(engine):
        first = await engine.occupied()
        tasks = [engine.send(float(i), client=str(i)) for i in range(3)]
        await engine.queued(3)
        engine.free()
        await asyncio.gather(first, *tasks)

        async def later(row):
            await asyncio.sleep(0.02 * row)
            await engine.ask(float(row), client=str(row))

        await asyncio.gather(*(later(row) for row in range(3)))
        assert [len(call) for call in engine.calls] == [1, 3, 3]

    run(scenario, max_delay=5.0)


def test_a_flood_of_one_client_delays_another_by_one_call():
    async def scenario(engine):
        first = await engine.occupied()
        flood = [engine.send(*map(float, range(4)), client="flood") for _ in range(10)]
        await engine.queued(40)
        single = engine.send(99.0, client="single")
        await engine.queued(41)
        engine.free()
        assert await single == [198.0]
        assert 99.0 in engine.calls[1]
        await asyncio.gather(first, *flood)

    run(scenario)


def test_a_flood_of_images_delays_the_decoding_of_another_client_by_one_image():
    order, gate = [], threading.Event()

    def prepare(row):
        order.append(row)
        assert gate.wait(20)
        return row

    async def scenario(engine):
        flood = engine.send(*map(float, range(20)), client="flood", decoded=True)
        while not order:
            await asyncio.sleep(0.005)
        single = engine.send(99.0, client="single", decoded=True)
        await engine.queued(21)
        gate.set()
        await asyncio.gather(flood, single)
        assert order.index(99.0) <= 2

    run(scenario, prepare=prepare)


def test_decoding_is_not_far_ahead_of_the_engine():
    decoded = []

    async def scenario(engine):
        first = await engine.occupied()
        task = engine.send(*map(float, range(50)), decoded=True)
        await engine.queued(50)
        await asyncio.sleep(0.2)
        assert len(decoded) == 2 * 4
        engine.free()
        await asyncio.gather(first, task)
        assert len(decoded) == 50

    run(scenario, prepare=lambda row: decoded.append(row) or row, decoders=2)


def test_other_outputs_are_computed_in_turn():
    async def scenario(engine):
        first = await engine.occupied()
        flood = [engine.send(float(i), client=client) for i in range(8) for client in ("b", "c")]
        other = engine.send(50.0, client="d", output="layer")
        await engine.queued(17)
        engine.free()
        await asyncio.gather(first, other, *flood)
        assert engine.outputs[:3] == [("y",), ("y",), ("layer",)]
        assert all(set(call) <= {50.0} or 50.0 not in call for call in engine.calls)

    run(scenario)


def test_the_bounds_of_a_client_and_of_all():
    async def scenario(engine):
        assert await status(engine.send(*map(float, range(6)))) == 413
        first = await engine.occupied()
        tasks = [engine.send(*map(float, range(5)), client="a")]
        await engine.queued(5)
        assert await status(engine.send(1.0, client="a")) == 429
        tasks.append(engine.send(1.0, 2.0, client="b"))
        await engine.queued(7)
        assert await status(engine.send(1.0, client="c")) == 503
        engine.free()
        await asyncio.gather(first, *tasks)
        assert await engine.ask(*map(float, range(5)), client="a")  # and room again

    run(scenario, per_client=5, total=8)


def test_a_deadline_is_answered_in_time_and_not_computed():
    async def scenario(engine):
        first = await engine.occupied()
        began = time.monotonic()
        late = engine.send(7.0, deadline=began + 0.1)
        images = engine.send(8.0, deadline=began + 0.1, decoded=True)
        assert await status(late) == await status(images) == 504
        assert 0.1 <= time.monotonic() - began < 10
        assert await status(engine.send(9.0, deadline=time.monotonic())) == 504
        engine.free()
        await first
        await engine.ask(1.0)
        assert engine.calls == [[-1.0], [1.0]]

    run(scenario)


def test_a_deadline_during_the_call_is_answered_as_well():
    async def scenario(engine):
        task = await engine.occupied(deadline=time.monotonic() + 0.1)
        assert await status(task) == 504
        engine.free()
        assert await engine.ask(1.0) == [2.0]

    run(scenario)


def test_the_request_of_a_client_that_has_gone_is_dropped():
    async def scenario(engine):
        first = await engine.occupied()
        gone = [engine.send(5.0), engine.send(6.0, decoded=True), engine.send(*map(float, range(9)))]
        await engine.queued(11)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        engine.free()
        await first
        assert await engine.ask(1.0) == [2.0]
        assert engine.calls == [[-1.0], [1.0]]
        await engine.queued(0)

    run(scenario)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(MemoryError(), 503), (BackendError("the GPU is lost"), 500), (RuntimeError("two\nlines"), 500)],
)
def test_an_error_reaches_the_requests_of_its_call_alone(error, expected):
    async def scenario(engine):
        first = await engine.occupied()
        tasks = [engine.send(float(i), client=str(i)) for i in range(6)]
        await engine.queued(6)
        engine.errors = [None, error]
        engine.free()
        assert await first == [-2.0]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [answer for answer in answers if isinstance(answer, ServiceError)]
        assert [answer.status for answer in failed] == [expected] * 4
        assert not any("\n" in str(answer) for answer in failed)
        assert [answer for answer in answers if not isinstance(answer, ServiceError)] == [[8.0], [10.0]]
        assert await engine.ask(1.0) == [2.0]

    run(scenario)


def test_an_image_that_cannot_be_prepared_ends_its_request():
    async def scenario(engine):
        good = engine.send(3.0, decoded=True)
        task = engine.send(1.0, "no number", 2.0, decoded=True)
        with pytest.raises(ServiceError, match="image 2 of 3: "):
            await task
        assert await good == [6.0]
        await engine.queued(0)
        assert await engine.ask(4.0, decoded=True) == [8.0]

    run(scenario)


def test_closing_finishes_what_was_accepted():
    async def scenario(engine):
        first = await engine.occupied()
        tasks = [engine.send(float(i), client=str(i), decoded=i % 2 == 0) for i in range(30)]
        await engine.queued(30)
        closing = asyncio.get_running_loop().run_in_executor(None, engine.pipeline.close)
        await asyncio.sleep(0.05)
        with pytest.raises(ClosedError):
            await engine.ask(1.0)
        engine.free()
        assert await asyncio.gather(*tasks) == [[2.0 * i] for i in range(30)]
        await asyncio.gather(first, closing)

    run(scenario)


def test_closing_answers_what_it_cannot_finish():
    async def scenario(engine):
        first = await engine.occupied()
        tasks = [first, engine.send(1.0), engine.send(*map(float, range(20)), decoded=True)]
        await engine.queued(21)
        await asyncio.get_running_loop().run_in_executor(None, engine.pipeline.close, 0.05)
        assert [await status(task) for task in tasks] == [503] * 3

    run(scenario)


def test_the_metrics_count_images_and_calls():
    async def scenario(engine):
        first = await engine.occupied()
        tasks = [engine.send(1.0, 2.0), engine.send(3.0, client="b", decoded=True)]
        await engine.queued(3)
        assert 'fastalex_queue_images{model="held"} 3.0' in engine.metrics.render().decode()
        engine.free()
        await asyncio.gather(first, *tasks)
        text = engine.metrics.render().decode()
        assert 'fastalex_batch_images_sum{model="held"} 4.0' in text
        assert 'fastalex_queue_seconds_count{model="held"} 3.0' in text
        assert 'fastalex_queue_images{model="held"} 0.0' in text

    run(scenario)


def test_an_idle_pipeline_keeps_no_request_alive():
    class Row(float):
        pass

    async def scenario(engine):
        rows = [Row(row) for row in range(9)]
        alive = [weakref.ref(row) for row in rows]
        await asyncio.gather(*(engine.ask(row, decoded=True) for row in rows))
        await asyncio.sleep(0.05)
        del rows
        engine.calls.clear()
        gc.collect()
        assert not any(row() for row in alive)

    run(scenario, prepare=lambda row: row)
