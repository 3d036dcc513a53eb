"""What hostile clients do: each a coroutine that misuses one connection, or many, of a :class:`Hostile`."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import struct
import zlib
from collections import Counter
from typing import Any, Awaitable, Callable, Dict, List, Optional, Tuple

from PIL import Image

PATIENCE_S = 3.0  # for an answer
CLASSIFY, INFER, BOUNDARY = "/v1/classify", "/v2/models/digits/infer", "b0undary"


class Hostile:
    """A client that keeps misbehaving until it is told to end, and canceled.

    :param place: address and port of the server; :param source: the address that it comes from.
    """

    def __init__(self, place: Tuple[str, int], source: str, seed: int, image: bytes) -> None:
        self.place, self.source, self.image = place, source, image
        self.random = random.Random(seed)
        self.statuses: Counter = Counter()
        self.acts: Counter = Counter()
        self.ended = False  # asyncio.wait_for of Python 3.11 can lose a cancellation

    async def run(self) -> None:
        while not self.ended:
            act = self.random.choice(ACTS)
            self.acts[act.__name__] += 1
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                await act(self)
            await asyncio.sleep(self.random.uniform(0, 0.1))

    @contextlib.asynccontextmanager
    async def connection(self) -> Any:
        """A reader and a writer; the connection is reset at the end, without a goodbye, every other time."""
        reader, writer = await asyncio.open_connection(*self.place, local_addr=(self.source, 0))
        try:
            yield reader, writer
        finally:
            if self.random.random() < 0.5:
                writer.transport.abort()
            else:
                writer.close()

    async def answer(self, reader: Any, patience_s: float = PATIENCE_S) -> None:
        """Count the status of the next answer, or that there was none."""
        try:
            line = await asyncio.wait_for(reader.readline(), patience_s)
        except asyncio.TimeoutError:
            self.statuses["none"] += 1
            return
        except OSError:
            line = b""
        self.statuses[line[9:12].decode("latin-1") if line.startswith(b"HTTP/1.1 ") else "closed"] += 1

    async def ask(self, request: bytes, patience_s: float = PATIENCE_S) -> None:
        """Send a request, and count its answer."""
        async with self.connection() as (reader, writer):
            writer.write(request)
            await self.answer(reader, patience_s)

    async def drip(self, data: bytes, pause_s: float) -> None:
        """Send byte after byte, until the server has enough of it."""
        async with self.connection() as (reader, writer):
            answer = asyncio.ensure_future(self.answer(reader, 60))
            for byte in data:
                if answer.done():
                    return
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(pause_s)
            await answer


def request(path: str, body: bytes = b"", method: str = "POST", length: Optional[Any] = None, **fields: str) -> bytes:
    """A request whose length may be a lie."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [] if length == "" else [f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def form(image: bytes, name: str = "image") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="x.png"\r\n\r\n'
    return head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def upload(body: bytes, **others: Any) -> bytes:
    return request(CLASSIFY, body, Content_Type=f"multipart/form-data; boundary={BOUNDARY}", **others)


def infer(inputs: Any, binary: bytes = b"", **others: Any) -> bytes:
    head = json.dumps({"inputs": inputs, **others}).encode()
    fields = {"Inference_Header_Content_Length": str(len(head))} if binary else {}
    return request(INFER, head + binary, Content_Type="application/octet-stream", **fields)


def png(width: int, height: int, rows: Optional[int] = None) -> bytes:
    """A black PNG whose head says ``width`` x ``height``; it has as many rows, or only ``rows``."""
    stream = io.BytesIO()
    Image.new("L", (width, rows or height)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


async def slow_head(one: Hostile) -> None:
    await one.drip(request(CLASSIFY, X_Long="x" * 500), 0.2)


async def slow_body(one: Hostile) -> None:
    await one.drip(upload(form(one.image)), 0.1)


async def too_little_body(one: Hostile) -> None:
    await one.ask(upload(form(one.image), length=100_000))


async def too_much_body(one: Hostile) -> None:
    await one.ask(upload(form(one.image), length=10))


async def no_length(one: Hostile) -> None:
    await one.ask(upload(form(one.image), length=one.random.choice(["", "-1", "many", "1e3", "9" * 30, "5, 6"])))


async def half_body(one: Hostile) -> None:
    data = upload(form(one.image))
    async with one.connection() as (_, writer):
        writer.write(data[: one.random.randrange(len(data))])
        await writer.drain()


async def garbage(one: Hostile) -> None:
    await one.ask(
        one.random.choice([b"\x16\x03\x01\x02\x00\x01", b"GET", b"\r\n" * 50, b""]) + one.random.randbytes(500)
    )


async def leaves_before_the_answer(one: Hostile) -> None:
    async with one.connection() as (_, writer):
        writer.write(upload(form(one.image)))
        await asyncio.sleep(one.random.uniform(0, 0.01))


async def leaves_in_the_answer(one: Hostile) -> None:
    async with one.connection() as (reader, writer):
        writer.write(upload(form(one.image)))
        await asyncio.wait_for(reader.read(10), PATIENCE_S)


async def never_reads(one: Hostile) -> None:
    """Requests whose answers are long, one after another, of which none is read."""
    binary = (struct.pack("<I", len(one.image)) + one.image) * 2
    tensor = {"name": "image", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(binary)}}
    data = infer([tensor], binary, outputs=[{"name": "conv1"}])
    async with one.connection() as (_, writer):
        with contextlib.suppress(asyncio.TimeoutError):
            for _ in range(50):
                writer.write(data)
                await asyncio.wait_for(writer.drain(), 0.2)
        await asyncio.sleep(PATIENCE_S)


async def pipelined(one: Hostile) -> None:
    async with one.connection() as (reader, writer):
        writer.write(upload(form(one.image)) * 50)
        await one.answer(reader)


async def bomb(one: Hostile) -> None:
    """Images that are huge, say that they are, or are none."""
    kinds: List[Callable[[], bytes]] = [
        lambda: png(60_000, 60_000, 1),
        lambda: png(4_000, 3_900),
        lambda: png(1, 16_000),
        lambda: one.image[: one.random.randrange(len(one.image))],
        lambda: one.random.randbytes(2_000),
        lambda: b"",
    ]
    await one.ask(upload(form(one.random.choice(kinds)())))


async def wrong_tensor(one: Hostile) -> None:
    def tensor(shape: Any, data: Any, datatype: Any = "FP32", name: Any = "input") -> List[Dict[str, Any]]:
        return [{"name": name, "shape": shape, "datatype": datatype, "data": data}]

    def binary(size: int) -> List[Dict[str, Any]]:
        return [{"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}]

    bodies = [
        infer(tensor([1, 3, 131, 131], [0.0])),
        infer(tensor([10**9, 3, 131, 131], [])),
        infer(tensor([-1], [0]), b"\0" * 100),
        infer(tensor([2**63, 2**63], [1])),
        infer(tensor([1], ["x"], "BYTES", "image")),
        infer(tensor(1, {"a": 1}, 7, None)),
        infer(tensor([1, 3, 131, 131], [float("nan")] * 51_483)),
        infer(binary(10**12), b"x" * 99),
        infer(binary(8), b"\xff" * 8),
        infer({}, outputs=7),
        infer(tensor([1], [1]) * 1_000),
        request(INFER, b"[" * 100_000),
        request(INFER, b'{"inputs": ' + b"9" * 10_000 + b"}"),
        request(INFER, b"{" + b"\xff" * 10, Inference_Header_Content_Length="99999999999"),
    ]
    await one.ask(one.random.choice(bodies))


async def endless_chunks(one: Hostile) -> None:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    head = request(CLASSIFY, length="", Content_Type=kind, Transfer_Encoding="chunked")
    async with one.connection() as (reader, writer):
        writer.write(head)
        answer = asyncio.ensure_future(one.answer(reader, 60))
        while not answer.done():
            writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.001)


async def many_connections(one: Hostile) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(30):
            await stack.enter_async_context(one.connection())
        await asyncio.sleep(1)


async def long_head(one: Hostile) -> None:
    many = {f"X_{number}": "y" * 50 for number in range(2_000)}
    await one.ask(one.random.choice([request(CLASSIFY, X_Long="x" * 1_000_000), request(CLASSIFY, **many)]))


async def many_parts(one: Hostile) -> None:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n'.encode()
    await one.ask(upload(part * 5_000))


async def wrong_place(one: Hostile) -> None:
    path = one.random.choice(["/v2/models/../../etc/passwd/infer", "/v2/models/nothing/infer", "/%00", "/v9", "*"])
    await one.ask(request(path, b"{}", one.random.choice(["POST", "GET", "DELETE", "BREW"])))


ACTS: List[Callable[[Hostile], Awaitable[None]]] = [
    slow_head,
    slow_body,
    too_little_body,
    too_much_body,
    no_length,
    half_body,
    garbage,
    leaves_before_the_answer,
    leaves_in_the_answer,
    never_reads,
    pipelined,
    bomb,
    wrong_tensor,
    endless_chunks,
    many_connections,
    long_head,
    many_parts,
    wrong_place,
]
