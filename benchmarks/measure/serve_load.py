"""A process that sends images to a server and times the answers: ``run.py measure.serve_load SPEC``.

SPEC is a JSON object: port, form (of :data:`FORMS`), images (a folder of files), pid (of the server, whose processor
time it reads at both ends of what is measured), warmup_s, seconds, and either clients (each sends its next request when
it has its answer) or rate (requests a second at random moments, a Poisson process, whatever the answers take). It
prints one JSON object.

It is written to cost little, as it shares the processors with the server: whole requests are made beforehand, and of an
answer no more is read than its status and its length. Latency counts from the moment that a request was due, also where
the client came late to send it.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from benchmarks.measure.serve_clock import cpu_seconds

BOUNDARY = "fastalex-benchmark"


def form_request(path: str, name: str, image: bytes) -> bytes:
    """A file upload as browsers and curl send it."""
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="x.jpg"\r\n'
    body = part.encode() + b"Content-Type: image/jpeg\r\n\r\n" + image + f"\r\n--{BOUNDARY}--\r\n".encode()
    return _request(path, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, body)


def tensor_request(path: str, image: bytes) -> bytes:
    """Open Inference Protocol: one BYTES tensor in binary, the probabilities back in binary."""
    size = 4 + len(image)
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    output = {"name": "probabilities", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    length = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    return _request(path, length, head + len(image).to_bytes(4, "little") + image)


def _request(path: str, fields: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


#: Name -> what makes a request of an image: those of fastalex (its model is named ``net``), and of the other servers.
FORMS: Dict[str, Callable[[bytes], bytes]] = {
    "v2": lambda image: tensor_request("/v2/models/net/infer", image),
    "form": lambda image: form_request("/v1/classify", "image", image),
    "fastapi": lambda image: form_request("/classify", "image", image),
    "litserve": lambda image: form_request("/predict", "request", image),
}


class Connection(asyncio.Protocol):
    """A connection that is kept, with at most one request under way."""

    def __init__(self, load: Load) -> None:
        self.load, self.due = load, 0.0
        self.left, self.head, self.status = -1, b"", ""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, request: bytes, due: float) -> None:
        self.due, self.left, self.head = due, -1, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self.left < 0:
            self.head += data
            head, end, body = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            self.status = head[9:12].decode("ascii", "replace")
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
            self.left, data = int(fields[b"content-length"]), body
        self.left -= len(data)
        if self.left == 0:
            self.load.answered(self)

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.load.lost(self)


class Load:
    """Requests of one kind to one server, and what became of them between two moments."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec, self.random = spec, random.Random(2012)
        files = sorted(Path(spec["images"]).iterdir())
        self.requests = [FORMS[spec["form"]](path.read_bytes()) for path in files]
        self.begin = self.end = 0.0
        self.latencies: List[float] = []
        self.lags: List[float] = []
        self.statuses: Counter = Counter()
        self.idle: List[Connection] = []
        self.measuring = self.ended = False

    def answered(self, connection: Connection) -> None:
        now = time.perf_counter()
        if self.measuring:
            self.latencies.append(now - connection.due)
            self.statuses[connection.status] += 1
        if self.ended:
            return
        if "rate" in self.spec:
            self.idle.append(connection)
        else:
            connection.send(self.random.choice(self.requests), now)

    def lost(self, connection: Connection) -> None:
        if not self.ended:
            self.statuses["lost"] += 1

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.spec["port"])
        return connection

    async def run(self) -> Dict[str, Any]:
        if "rate" in self.spec:
            sending = asyncio.ensure_future(self.arrivals())
        else:
            for connection in [await self.connect() for _ in range(self.spec["clients"])]:
                connection.send(self.random.choice(self.requests), time.perf_counter())
            sending = None
        await asyncio.sleep(self.spec["warmup_s"])
        begin, server, own = time.perf_counter(), cpu_seconds(self.spec["pid"]), time.process_time()
        self.measuring = True
        await asyncio.sleep(self.spec["seconds"])
        self.measuring = False
        seconds, used = time.perf_counter() - begin, cpu_seconds(self.spec["pid"]) - server
        own = time.process_time() - own
        self.ended = True
        if sending:
            sending.cancel()
        return self.result(seconds, used, own)

    async def arrivals(self) -> None:
        """Send at the moments of a Poisson process, each on a connection that is free or new."""
        due = time.perf_counter()
        while True:
            due += self.random.expovariate(self.spec["rate"])
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            connection = self.idle.pop() if self.idle else await self.connect()
            if self.measuring:
                self.lags.append(time.perf_counter() - due)
            connection.send(self.random.choice(self.requests), due)

    def result(self, seconds: float, server_s: float, client_s: float) -> Dict[str, Any]:
        images = self.statuses["200"]
        row = {"images": images, "seconds": seconds, "server_cpu_s": server_s, "client_cpu_s": client_s}
        row.update(statuses=dict(self.statuses), images_per_s=images / seconds)
        row["images_per_cpu_s"] = images / server_s if server_s else 0.0
        row.update({f"p{percent}_ms": 1e3 * percentile(self.latencies, percent) for percent in (50, 90, 99)})
        if self.lags:
            row["lag_p99_ms"] = 1e3 * percentile(self.lags, 99)
        return row


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` of all do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def main(words: Sequence[str]) -> int:
    print(json.dumps(asyncio.run(Load(json.loads(words[0])).run())))
    return 0
