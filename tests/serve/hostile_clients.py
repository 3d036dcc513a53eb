"""Hostile clients beside honest ones: ``python -m tests.serve.hostile_clients --hostile 200 --seconds 60``.

It starts ``fastalex serve --model digits`` with small limits, so that the memory that clients may take can be computed
from them, and prints what became of the honest requests and of the server. What hostile clients do is in hostility.py.
Honest clients come from 127.0.0.1, hostile ones from other addresses of the loopback network: limits hold for an
address.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from tests.serve import hostility

ROOT = Path(__file__).resolve().parents[2]
DIGITS = sorted((ROOT / "examples" / "digits").glob("*.png"))
SOURCES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
START_S, SETTLE_S = 60.0, 20.0
MIB = 1 << 20
JSON_BYTES = 24  # of a number, its sign, 17 digits, an exponent and a comma

#: The limits that the server is started with, and what its memory follows from.
LIMITS = {
    "max-body-bytes": MIB // 4,
    "max-pixels": 16_000_000,
    "max-connections": 512,
    "max-connections-per-client": 128,
    "queue-per-client": 64,
    "queue-total": 256,
    "decoders": 2,
    "max-batch": 32,
    "header-timeout": 3,
    "body-timeout": 5,
}


def bound_mib(limits: Dict[str, int] = LIMITS) -> float:
    """How much memory the limits let clients take, in MiB, beside what the server has before.

    A connection: its body, in parts as they arrived and joined; an answer that nobody reads, which is as large as a
    body if binary, but in JSON has :data:`JSON_BYTES` for each of its float32; and 64 KiB each of what asyncio reads
    and writes ahead. A place in the queue: the network's input. A decoder: an image of the most pixels as its file has
    it (up to 4 bytes), as RGB, and as the array that is resized.
    """
    from fastalex import variants

    row = variants.get("alexnet-digits")
    body = limits["max-body-bytes"]
    connections = limits["max-connections"] * (2 * body + body // 4 * JSON_BYTES + 2 * (64 << 10))
    queue = limits["queue-total"] * 4 * row.channels * row.input_size**2
    decoding = limits["decoders"] * limits["max-pixels"] * (4 + 3 + 3)
    return (connections + queue + decoding) / MIB


class Server:
    """``fastalex serve`` in a process, and what the system says of it."""

    def __init__(self, *options: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = int(taken.getsockname()[1])
        words = [sys.executable, "-m", "fastalex", "serve", "--model", "digits", "--port", str(self.port)]
        words += [word for name, value in LIMITS.items() for word in ("--" + name, str(value))]
        self.process = subprocess.Popen(
            [*words, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def wait(self) -> None:
        begin = time.monotonic()
        while time.monotonic() - begin < START_S:
            assert self.process.poll() is None, "the server ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as one:
                one.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                if one.recv(100).startswith(b"HTTP/1.1 200"):
                    return
            time.sleep(0.1)
        raise AssertionError("the server did not become ready")

    def status(self, key: str) -> int:
        """A number of /proc/PID/status, such as VmRSS in KiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))

    def reset_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # proc(5): VmHWM starts anew

    def sockets(self) -> int:
        folder = f"/proc/{self.process.pid}/fd"
        count = 0
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                count += os.readlink(f"{folder}/{name}").startswith("socket:")
        return count

    def facts(self) -> Dict[str, Any]:
        return {"mib": self.status("VmRSS") / 1024, "threads": self.status("Threads"), "sockets": self.sockets()}

    def close(self) -> Optional[int]:
        """End it as a service manager does. :returns: its exit code, or None if it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


@contextlib.contextmanager
def serving(*options: str) -> Iterator[Server]:
    server = Server(*options)
    try:
        server.wait()
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


class Honest:
    """A client that sends images in both forms on one connection, and knows what the answers must be."""

    def __init__(self, port: int, expected: Sequence[Tuple[bytes, bytes]]) -> None:
        self.port, self.expected = port, expected
        self.counts: Counter = Counter()
        self.seconds: List[float] = []
        self.others: Counter = Counter()

    async def run(self, end: float) -> None:
        at = 0
        while time.monotonic() < end:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.counts.update(sent=1, lost=1)
                await asyncio.sleep(0.1)
                continue
            with contextlib.closing(writer):
                while time.monotonic() < end:
                    request, answer = self.expected[at % len(self.expected)]
                    at += 1
                    if not await self.ask(reader, writer, request, answer):
                        break

    async def ask(self, reader: Any, writer: Any, request: bytes, answer: bytes) -> bool:
        """Send one request and judge its answer. :returns: whether the connection can be used again."""
        self.counts["sent"] += 1
        begin = time.monotonic()
        try:
            writer.write(request)
            status, body = await asyncio.wait_for(read_answer(reader), 60)
        except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
            self.counts["lost"] += 1
            self.others[type(error).__name__] += 1
            return False
        self.seconds.append(time.monotonic() - begin)
        if status != 200:
            self.counts["refused"] += 1
            self.others[f"{status} {body[:100].decode('utf-8', 'replace')}"] += 1
            await asyncio.sleep(0.1)
        else:
            self.counts["answered"] += 1
            self.counts["wrong"] += body != answer
        return True


async def read_answer(reader: Any) -> Tuple[int, bytes]:
    """The status and the body of an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    return int(head[9:12]), await reader.readexactly(int(fields[b"content-length"]))


async def learn(port: int) -> List[Tuple[bytes, bytes]]:
    """Requests and their answers while nobody disturbs the server: each image as a form and as a tensor."""
    requests = []
    for path in DIGITS[:6]:
        image = path.read_bytes()
        requests.append(hostility.upload(hostility.form(image)))
        binary = struct.pack("<I", len(image)) + image
        size = {"binary_data_size": len(binary)}
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": size}
        requests.append(hostility.infer([tensor], binary, outputs=[{"name": "logits"}]))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    learned = []
    for request in requests:
        writer.write(request)
        status, body = await read_answer(reader)
        assert status == 200, body
        learned.append((request, body))
    writer.close()
    return learned


async def attack(server: Server, hostile: int, seconds: float, honest: int, seed: int) -> Dict[str, Any]:
    expected = await learn(server.port)
    server.reset_peak()
    before = server.facts()
    image = DIGITS[0].read_bytes()
    place = ("127.0.0.1", server.port)
    foes = [hostility.Hostile(place, SOURCES[i % len(SOURCES)], seed + i, image) for i in range(hostile)]
    friends = [Honest(server.port, expected) for _ in range(honest)]
    attacking = [asyncio.ensure_future(one.run()) for one in foes]
    await asyncio.gather(*(one.run(time.monotonic() + seconds) for one in friends))
    for one, task in zip(foes, attacking):
        one.ended = True
        task.cancel()
    await asyncio.gather(*attacking, return_exceptions=True)
    peak = server.status("VmHWM") / 1024
    after = await settled(server, before)
    times = sorted(second for one in friends for second in one.seconds)
    counts = sum((one.counts for one in friends), Counter())
    return {
        "hostile": hostile,
        "seconds": seconds,
        "honest": {
            **{key: counts[key] for key in ("sent", "answered", "refused", "wrong", "lost")},
            "clients": honest,
            "p50_ms": 1e3 * times[len(times) // 2] if times else None,
            "p99_ms": 1e3 * times[len(times) * 99 // 100] if times else None,
            "others": dict(sum((one.others for one in friends), Counter())),
        },
        "server": {
            **{f"before_{key}": value for key, value in before.items()},
            **{f"after_{key}": value for key, value in after.items()},
            "peak_mib": peak,
            "bound_mib": before["mib"] + bound_mib(),
        },
        "statuses": dict(sum((one.statuses for one in foes), Counter())),
        "acts": dict(sum((one.acts for one in foes), Counter())),
        "limits": LIMITS,
    }


async def settled(server: Server, before: Dict[str, Any]) -> Dict[str, Any]:
    """What the server has when its time limits have ended the connections that were left."""
    begin = time.monotonic()
    while server.sockets() > before["sockets"] and time.monotonic() - begin < SETTLE_S:
        await asyncio.sleep(0.2)
    return server.facts()


def run(hostile: int, seconds: float, honest: int = 4, seed: int = 0) -> Dict[str, Any]:
    """Start a server, attack it, and end it; return what happened."""
    with serving() as server:
        found = asyncio.run(attack(server, hostile, seconds, honest, seed))
        assert server.process.poll() is None, "the server ended"
        asyncio.run(learn(server.port))
        found["server"]["exit_code"] = server.close()
    return found


def main(words: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hostile", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--honest", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the result and the tables of docs/serving.md")
    options = parser.parse_args(words)
    found = run(options.hostile, options.seconds, options.honest, options.seed)
    print(json.dumps(found, indent=1))
    from benchmarks import files, records
    from benchmarks.measure import machine
    from benchmarks.report import serve

    if options.write:
        record = {**machine.short_record("serve", False, {}, {}), **found}
        name = f"{records.slug(record['title'])}-{record['machine']['isa']}.json"
        files.write_atomically(serve.HOSTILITY / name, files.as_json(record))
        serve.write()
    print(serve.hostility([found]))
    honest = found["honest"]
    kept = honest["answered"] == honest["sent"] and not honest["wrong"]
    return 0 if kept and found["server"]["peak_mib"] <= found["server"]["bound_mib"] else 1


if __name__ == "__main__":
    sys.exit(main())
