"""What answers may take: memory that clients do not read, layers of many images, numbers in JSON."""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from pathlib import Path

import pytest

from tests.support import service

PNG = sorted((Path(__file__).resolve().parents[2] / "examples" / "digits").glob("*.png"))[0].read_bytes()
STALL_S = 0.6


@pytest.fixture(params=["httptools", "h11"])
def either(request, monkeypatch):
    """Servers on both of uvicorn's parsers."""
    if request.param == "h11":
        monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", None)


def layers_of(images, binary=True):
    """A request for conv1, 92 kB an image."""
    data = (struct.pack("<I", len(PNG)) + PNG) * images
    tensor = {"name": "image", "shape": [images], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    outputs = [{"name": "conv1", "parameters": {"binary_data": binary}}]
    head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    fields = (
        f"Host: localhost\r\nContent-Length: {len(head + data)}\r\nInference-Header-Content-Length: {len(head)}\r\n"
    )
    return f"POST /v2/models/digits/infer HTTP/1.1\r\n{fields}Connection: close\r\n\r\n".encode() + head + data


def asked(running, request, buffer):
    """A connection with a small buffer, on which a request was sent."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", running.port))
    connection.sendall(request)
    return connection


@pytest.mark.slow
def test_a_client_that_reads_nothing_is_dropped(either):
    with service.running(body_timeout_s=STALL_S) as running, asked(running, layers_of(100), 4096) as connection:
        assert connection.recv(1, socket.MSG_PEEK), "the answer has begun"
        time.sleep(3 * STALL_S)
        answer = service.read_all(connection)
    length = int(answer.lower().split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
    assert length > 100 * 92_000 > len(answer)


@pytest.mark.slow
def test_a_client_that_reads_slowly_is_not(either):
    with service.running(body_timeout_s=STALL_S) as running, asked(running, layers_of(100), 1 << 16) as connection:
        answer, began = b"", time.monotonic()
        while time.monotonic() - began < 2 * STALL_S:  # longer than a client that reads nothing has
            answer += connection.recv(1 << 16)
            time.sleep(STALL_S / 60)  # 3 MB in its time, of which the system holds back one or two
        answer += service.read_all(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head.lower().split(b"\r\n")


def error_of(running, request):
    head, _, body = running.raw(request).partition(b"\r\n\r\n")
    return int(head[9:12]), json.loads(body)["error"]


def test_answers_are_bounded_as_requests_are():
    with service.running(max_body_bytes=1 << 20) as running:
        status, sentence = error_of(running, layers_of(12))  # 12 x 24 x 31 x 31 float32
    assert (status, sentence) == (
        413,
        "the answer would have 1107072 bytes, and this server allows 1048576; ask for fewer images or layers at a time",
    )


def test_numbers_in_json_are_bounded(monkeypatch):
    monkeypatch.setattr("fastalex.serve.protocol.response.MAX_JSON_VALUES", 24 * 31 * 31)
    with service.running() as running:
        assert running.raw(layers_of(1, binary=False)).startswith(b"HTTP/1.1 200")
        status, sentence = error_of(running, layers_of(2, binary=False))
    assert status == 413
    assert sentence.startswith("output 'conv1' has 46128 values, and JSON may have 23064; ask for it with")
