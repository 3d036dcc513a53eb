"""The measurement of the service: its client, its clocks, and the verdicts of its report."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

if not (Path(__file__).resolve().parents[2] / "benchmarks").is_dir():
    pytest.skip("the benchmarks are only in a source checkout", allow_module_level=True)

from benchmarks.measure import serve, serve_clock, serve_files, serve_load
from benchmarks.report import serve as report


class Answering:
    """A server on a thread that answers every request after ``delay`` seconds, and remembers the bodies."""

    def __init__(self, delay):
        self.delay, self.bodies, self.ready = delay, [], threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()))

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join()

    async def run(self):
        self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.end.wait()
        server.close()

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                await asyncio.sleep(self.delay)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
                await asyncio.sleep(0)
                writer.write(b"lo")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def load(server, folder, **how):
    (folder / "x.jpg").write_bytes(b"pretended image")
    spec = {"port": server.port, "form": "v2", "images": str(folder), "pid": os.getpid(), "warmup_s": 0.1}
    return asyncio.run(serve_load.Load({**spec, "seconds": 0.5, **how}).run())


def test_clients_that_wait_for_answers(tmp_path):
    with Answering(0.05) as server:
        row = load(server, tmp_path, clients=4)
    assert set(row["statuses"]) == {"200"}
    assert 10 < row["images"] <= 4 * 0.7 / 0.05, "no client has two requests under way"
    assert 50 <= row["p50_ms"] <= row["p99_ms"]
    assert server.bodies[0].endswith(b"\x0f\0\0\0pretended image")


def test_requests_at_random_moments_do_not_wait_for_answers(tmp_path):
    with Answering(0.3) as server:
        row = load(server, tmp_path, rate=100.0, warmup_s=0.4)
    assert 25 <= row["images"] <= 75, "50, within 3.5 standard deviations of a Poisson process"
    assert row["p50_ms"] >= 300 and row["lag_p99_ms"] >= 0


def test_processor_time_is_that_of_the_whole_tree():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}]); input()"
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    child = subprocess.Popen([sys.executable, "-c", code.format(burn)], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while serve_clock.cpu_seconds(child.pid) < 0.3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert serve_clock.cpu_seconds(child.pid) >= 0.3
        assert child.pid in serve_clock.tree(os.getpid())
        assert serve_clock.memory_mib(child.pid) > 1
    finally:
        child.communicate(b"\n")


def test_images_are_like_photographs_and_always_the_same():
    import numpy as np

    first, again, other = (serve_files.picture(np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.size == (500, 375)
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert 20 < np.asarray(first).std() < 100


def test_answers_of_every_server_are_read():
    head = json.dumps({"outputs": [{"name": "probabilities", "shape": [1, 2]}]}).encode()
    assert serve.probabilities("v2", head + b"\0\0\x80\x3e\0\0\x40\x3f") == {0: 0.25, 1: 0.75}
    classes = [{"index": 7, "probability": 0.5}]
    assert serve.probabilities("fastapi", json.dumps({"classes": classes}).encode()) == {7: 0.5}
    answer = {"images": [{"predictions": classes}]}
    assert serve.probabilities("form", json.dumps(answer).encode()) == {7: 0.5}


def record(own, loop, peers, on_off, p99):
    def row(case, name, per_cpu, per_s=1.0, **others):
        ranges = {"images_per_s_range": [per_s] * 2, "images_per_cpu_s_range": [per_cpu] * 2}
        both = {"images_per_cpu_s": per_cpu, "images_per_s": per_s, **ranges}
        return {"case": case, "name": name, "network": "torchvision", "p50_ms": 1, "p99_ms": p99, **both, **others}

    rows = [row("comparison", serve.V2, own), row("comparison", serve.ALONE, loop), row("comparison", serve.FORM, own)]
    rows += [row("comparison", name, value) for name, value in zip(serve.PEERS, peers)]
    rows += [row("batching", name, 1, value) for name, value in zip((serve.BATCHING, serve.NO_BATCHING), on_off)]
    return {"rows": [*rows, row("half load", serve.V2, 1, p90_ms=1, rate=1, images=9)]}


@pytest.mark.parametrize(
    ("facts", "figures", "met"),
    [
        ((85, 100, (10, 50, 56, 20), (20, 10), 5), ["0.85", "1.52", "2.00", "5.00"], ["yes"] * 4),
        ((84, 100, (10, 57, 20, 20), (19, 10), 5.1), ["0.84", "1.47", "1.90", "5.10"], ["no"] * 4),
    ],
)
def test_verdicts(facts, figures, met):
    lines = report.verdicts(record(*facts)).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [line[1] for line in cells] == figures
    assert [line[3] for line in cells] == met


def test_turns_are_merged_to_their_medians():
    rows = [{"images_per_s": s, "images_per_cpu_s": 2 * s, "statuses": {"200": 1}} for s in (3.0, 1.0, 2.0)]
    merged = serve.merged(rows)
    assert merged["images_per_s"] == 2 and merged["images_per_cpu_s_range"] == [2, 6] and merged["turns"] == 3
