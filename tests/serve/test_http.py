"""The routes for people, and what happens to requests that are wrong, slow, too large or too many."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import socket
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from fastalex import LPIPS, AlexNet
from fastalex.lpips import heads
from fastalex.serve import connections, forms
from fastalex.serve.bodies import Room
from fastalex.serve.errors import ServiceError
from fastalex.serve.messages import facts
from fastalex.serve.settings import Settings
from fastalex.serve.specs import LpipsSpec
from tests.support import service

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
FILES = sorted(DIGITS.glob("*.png"))[:3]
PNG = FILES[0].read_bytes()
POST = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server():
    with service.running() as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="module")
def net():
    return AlexNet(weights="digits", device="cpu", threads=1)


@pytest.fixture(params=["httptools", "h11"])
def either(request, monkeypatch):
    """Servers on both of uvicorn's parsers."""
    if request.param == "h11":
        monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", None)


def error_of(answer, status):
    """The sentence of an error, which is JSON and one line."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert list(document) == ["error"] and "\n" not in document["error"]
    return document["error"]


def split(data):
    """The answers in what a connection returned: (status, headers, body) each."""
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        answers.append((int(first.split()[1]), headers, data[:length]))
        data = data[length:]
    return answers


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# Classes --------------------------------------------------------------------------------------------------------------


def expected_images(net, names, topk):
    rows = net.classify([str(file) for file in FILES[: len(names)]], topk=topk)
    return [{"name": name, "predictions": [p._asdict() for p in row]} for name, row in zip(names, rows)]


def test_a_form_of_files_has_the_predictions_of_the_library(client, net):
    upload = [("image", (file.name, file.read_bytes(), "image/png")) for file in FILES]
    answer = client.post("/v1/classify", files=upload, data={"topk": "3", "model": "digits"})
    names = [file.name for file in FILES]
    assert answer.json() == {"model": "digits", "images": expected_images(net, names, 3)}


def test_of_several_images_the_error_says_which_is_bad(client):
    upload = [("image", ("a.png", PNG)), ("image", ("b.png", b"no image")), ("image", ("c.png", PNG))]
    assert "image 2 of 3: " in error_of(client.post("/v1/classify", files=upload), 422)
    elements = [base64.b64encode(data).decode() for _, (_, data) in upload]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "data": elements}
    assert "image 2 of 3: " in error_of(client.post("/v2/models/digits/infer", json={"inputs": [tensor]}), 422)


def test_an_image_may_be_the_body(client, net):
    answer = client.post("/v1/classify?topk=1", content=PNG, headers={"Content-Type": "image/png"})
    assert answer.json()["images"] == expected_images(net, [""], 1)
    many = client.post("/v1/classify?topk=99", content=PNG, headers={"Content-Type": "application/octet-stream"})
    assert many.json()["images"] == expected_images(net, [""], 10)
    assert client.post("/v1/classify", content=PNG, headers={"Content-Type": "image/png"}).json()["images"] == (
        expected_images(net, [""], 5)
    )


def form(*parts, boundary="b"):
    """A form as text, with the headers of each part spelled out."""
    body = "".join(f"--{boundary}\r\n{headers}\r\n\r\n{content}\r\n" for headers, content in parts)
    return {
        "content": (body + f"--{boundary}--\r\n").encode("latin-1"),
        "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    }


FIELD = 'Content-Disposition: form-data; name="{}"'
IMAGE = {"headers": {"Content-Type": "image/png"}}
WRONG = [
    ({"content": PNG}, 415, "as the body, with its Content-Type"),
    ({"content": PNG, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415, "not as application/x-"),
    ({"content": b"", **IMAGE}, 400, "no image, or an empty one"),
    ({"content": b"no image", **IMAGE}, 422, "AVIF image; convert it to one of these"),
    ({"content": PNG[:60], **IMAGE}, 422, "image"),
    ({"content": PNG, "params": {"topk": "0"}, **IMAGE}, 400, "topk must be"),
    ({"content": PNG, "params": {"topk": "-1"}, **IMAGE}, 400, "topk must be"),
    ({"content": PNG, "params": {"topk": "²"}, **IMAGE}, 400, "topk must be"),
    ({"content": PNG, "params": {"layer": "fc7"}, **IMAGE}, 400, "no field 'layer', only image, model, topk"),
    ({"content": PNG, "params": {"a" * 9999: "1"}, **IMAGE}, 400, "no field 'aaaa"),
    ({"content": PNG, "params": [("topk", "1")] * 999, **IMAGE}, 400, "more than 256 fields"),
    ({"content": PNG, "params": {"model": "../x"}, **IMAGE}, 404, "no model '../x'"),
    ({"content": PNG, "headers": {"Content-Type": "image/png", "X-Request-Timeout-Ms": "0"}}, 504, "deadline"),
    ({"content": PNG, "headers": {"Content-Type": "image/png", "X-Request-Timeout-Ms": "1e3"}}, 400, "whole number"),
    ({"content": PNG, "headers": {"Content-Type": "image/png", "Content-Encoding": "gzip"}}, 415, "Content-Encoding"),
    (form(), 400, ""),
    (form((FIELD.format("topk"), "1")), 400, "no image"),
    (form((FIELD.format("topk"), "x" * 1001)), 400, "'topk' is too long; images go into a field called image"),
    (form((FIELD.format("speed"), "1")), 400, "no field 'speed'"),
    (form(*[(FIELD.format("image"), "x")] * 257), 413, "more than 256 parts"),
    (form(("X: " + "y" * 5000, "")), 400, "not valid multipart"),
    (form(("no header", "")), 400, "not valid multipart"),
    ({"content": b"--b", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, ""),
    ({"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, ""),
    ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=" + "b" * 300}}, 400, "multipart"),
    ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "no boundary"),
]


@pytest.mark.parametrize(("request_", "status", "sentence"), WRONG, ids=range(len(WRONG)))
def test_wrong_requests_get_one_sentence(client, request_, status, sentence):
    assert sentence in error_of(client.post("/v1/classify", **request_), status)


LINES = {
    "header": b"--b\r\nX: " + b"y" * 2_000_000,
    "headers": b"--b\r\n" + b"a: b\r\n" * 300_000,
    "blank": b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\n" + b"\r\n" * 1_000_000 + b"--b--",
    "boundaries": b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\n" + b"\r\n--bx" * 300_000 + b"\r\n--b--",
}


@pytest.mark.parametrize("body", LINES.values(), ids=LINES)
def test_no_form_takes_the_server_for_long(server, body):
    scope = {"type": "http", "query_string": b"", "headers": [(b"content-type", b"multipart/form-data; boundary=b")]}
    messages = [{"type": "http.request", "body": body}]

    async def receive():
        return messages.pop()

    facts(scope)["room"] = Room(len(body))
    began = time.process_time()
    with contextlib.suppress(ServiceError):
        asyncio.run(forms.read(scope, receive, Settings(), ()))
    assert time.process_time() - began < 0.1, "searches of 2 MB take some milliseconds"


BLANK = "Content-Disposition: form-data; name=image"
FORMS = [
    ("--b\r\n{0}\r\n\r\nx\r\n--b--", [b"x"]),
    (
        "preamble\r\n--b \t\r\n{0}\r\n\r\n\r\n\r\n--b\r\n{0}\r\nA: b\r\n\r\ny--b\r\n--b--\r\nepilogue",
        [b"\r\n", b"y--b"],
    ),
    ("--b\r\n{0}\r\n\r\n\r\nx\n--b\r\r\n-\r\n--b--", [b"\r\nx\n--b\r\r\n-"]),
    ("--b\r\n{0}\r\n\r\nx\r\n--bc\r\n--b--", None),
    ("--b\r\n{0}\r\n\r\nx", None),
    ("--b\r\n{0}\r\n\r\n--b--", [b""]),
    ("--b\r\n{0}\r\n\r\n--by\r\n--b--", None),
    ("--b\r\n{0}\r\n--b\r\n{0}\r\n\r\nx\r\n--b--", None),
    ("--b\r\n{0}", None),
    ("--b", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "data"), FORMS, ids=range(len(FORMS)))
def test_parts_are_what_is_between_the_boundaries(text, data):
    body = text.format(BLANK).encode()
    if data is None:
        with pytest.raises(ServiceError, match="not valid multipart/form-data"):
            list(forms._parts(body, b"b"))
    else:
        assert [body[start:end] for _, start, end in forms._parts(body, b"b")] == data


# Layers, the distance, the rest ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["*/*", "application/x-npy", "application/octet-stream, */*;q=0.5"])
def test_embeddings_are_the_layer_of_the_library(client, net, accept):
    upload = [("image", (file.name, file.read_bytes())) for file in FILES]
    answer = client.post("/v1/embeddings", files=upload, data={"layer": "relu7"}, headers={"Accept": accept})
    expected = net.taps([str(file) for file in FILES], ["relu7"])["relu7"]
    kind = answer.headers["content-type"]
    if "npy" in accept:
        assert kind == "application/x-npy"
        values = np.load(io.BytesIO(answer.content), allow_pickle=False)
    elif "octet" in accept:
        assert kind == "application/octet-stream"
        values = np.frombuffer(answer.content, "<f4").reshape([int(n) for n in answer.headers["x-shape"].split(",")])
    else:
        document = answer.json()
        assert document["layer"] == "relu7" and document["shape"] == [192]
        values = np.array([row["embedding"] for row in document["images"]], np.float32)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(("layer", "status"), [(None, 400), ("conv99", 404)])
def test_embeddings_need_a_layer_that_exists(client, layer, status):
    params = {"layer": layer} if layer else {}
    answer = client.post("/v1/embeddings", params=params, content=PNG, headers={"Content-Type": "image/png"})
    assert "layer" in error_of(answer, status)


def test_embeddings_in_json_are_bounded(client, monkeypatch):
    monkeypatch.setattr("fastalex.serve.routes_v1.MAX_JSON_VALUES", 191)
    for accept, status in (("*/*", 413), ("application/x-npy", 200)):
        headers = {"Content-Type": "image/png", "Accept": accept}
        assert client.post("/v1/embeddings?layer=fc7", content=PNG, headers=headers).status_code == status


def test_the_distance_is_that_of_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr(heads, "_check_hash", lambda path, version: None)  # random ones are not the published ones
    generator = np.random.default_rng(5)
    channels = (64, 192, 384, 256, 256)
    file = tmp_path / "heads.npz"
    np.savez(file, **{heads.NAME % k: generator.random((1, n, 1, 1), np.float32) for k, n in enumerate(channels)})
    pictures = [generator.integers(0, 256, (70, 80, 3), np.uint8) for _ in range(2)]
    metric = LPIPS(weights="random", heads=str(file), device="cpu")
    expected = float(metric(*(picture.transpose(2, 0, 1)[None] for picture in pictures))[0, 0, 0, 0])
    spec = LpipsSpec.parse(f"random,heads={file},device=cpu,threads=1")
    with service.running(lpips=spec) as running, httpx.Client(base_url=running.url) as client:
        upload = [("image", (f"{k}.png", png(picture))) for k, picture in enumerate(pictures)]
        assert client.post("/v1/distance", files=upload).json() == {"distance": expected}
        assert "of two images" in error_of(client.post("/v1/distance", files=upload[:1]), 400)
        wrong = client.post("/v1/distance", files=upload, data={"topk": "1"})
        assert error_of(wrong, 400) == "there is no field 'topk', only image"
        upload[1] = ("image", ("small.png", png(pictures[1][1:])))
        assert "same size" in error_of(client.post("/v1/distance", files=upload), 422)


def test_without_lpips_there_is_no_distance(client):
    assert "started without --lpips" in error_of(client.post("/v1/distance", content=PNG), 404)


def test_the_root_names_the_routes_and_other_errors_are_json_too(client):
    assert client.get("/").text.count("\n") == 1 and "/v1/classify" in client.get("/").text
    assert "GET / names them" in error_of(client.get("/v3"), 404)
    assert "takes POST only" in error_of(client.get("/v1/classify"), 405)
    error_of(client.get("/v2/models/digits/infer"), 405)
    error_of(client.get("/v2/"), 404)


def test_metrics_count_requests(client):
    def count():
        name = 'fastalex_requests_total{model="digits",route="classify",status="200"}'
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = count()
    client.post("/v1/classify", content=PNG, headers={"Content-Type": "image/png"})
    assert count() == before + 1
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_two_models_need_a_name():
    second = service.ModelSpec.parse("second=digits,device=cpu,threads=1")
    with service.running([service.SPEC, second]) as running, httpx.Client(base_url=running.url) as client:
        answer = client.post("/v1/classify", content=PNG, headers={"Content-Type": "image/png"})
        assert "model=NAME, one of digits, second" in error_of(answer, 400)
        answer = client.post("/v1/classify?model=second", content=PNG, headers={"Content-Type": "image/png"})
        assert answer.json()["model"] == "second"


# The log --------------------------------------------------------------------------------------------------------------


def test_the_log_is_a_line_of_json_a_request_whatever_a_client_sends(server, client):
    before = len(server.lines())
    client.post("/v1/classify", content=PNG, headers={"Content-Type": "image/png"})
    client.get('/x%0A{"status":200}%1b[2J' + "y" * 1000)
    lines = server.lines()[before:]  # each is parsed
    assert len(lines) == 2
    assert {key: lines[0][key] for key in ("method", "path", "status", "model", "batch")} == {
        "method": "POST",
        "path": "/v1/classify",
        "status": 200,
        "model": "digits",
        "batch": 1,
    }
    assert lines[0]["ms"] > 0 and lines[0]["bytes"] > 0 and lines[0]["client"].startswith("127.0.0.1:")
    assert lines[1]["status"] == 404 and lines[1]["path"].startswith('/x\n{"status":200}\x1b[2J')
    assert len(lines[1]["path"]) <= 200


# Limits ---------------------------------------------------------------------------------------------------------------


def only(data, status):
    """The one answer of a connection that the server has ended, an error of this status."""
    ((code, headers, body),) = split(data)
    assert code == status and headers["connection"] == "close" and list(json.loads(body)) == ["error"]


def test_bodies_have_a_limit(either):
    with service.running(max_body_bytes=100_000) as running:
        # Announced: refused before a byte of it is sent.
        only(running.raw(POST + b"Content-Length: 100001\r\n\r\n"), 413)
        # Not announced: refused when it has become too long, and the client may read why while it is sending.
        endless = POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"ffff\r\n" + bytes(0xFFFF) + b"\r\n") * 200
        only(running.raw(endless), 413)
        only(running.raw(POST + b"Content-Length: 20000000\r\n\r\n" + bytes(20_000_000)), 413)
        only(
            running.raw(POST.replace(b"/v1/classify", b"/x") + b"Content-Length: 9000000\r\n\r\n" + bytes(9_000_000)),
            404,
        )
        assert split(running.raw(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))[0][0] == 200


def test_all_bodies_together_have_a_limit(either):
    with service.running(max_bodies_bytes=200_000) as running:
        with running.connect() as held:
            held.sendall(POST + b"Content-Length: 90000\r\n\r\n" + bytes(80_000))
            small = POST + f"Content-Length: {len(PNG)}\r\nConnection: close\r\n\r\n".encode() + PNG
            until(lambda: running.front.room.used == 80_000)
            assert split(running.raw(small))[0][0] == 200
            only(running.raw(POST + b"Content-Length: 30000\r\n\r\n" + bytes(30_000)), 503)  # half is for others
            assert running.front.room.used == 80_000
        until(lambda: running.front.room.used == 0)
        # One request that is alone may have all of it.
        answer = running.raw(POST + b"Content-Length: 150000\r\nConnection: close\r\n\r\n" + bytes(150_000))
        assert split(answer)[0][0] == 422


def test_slow_heads_and_bodies_end(either):
    with service.running(header_timeout_s=0.2, body_timeout_s=0.3) as running:
        began = time.monotonic()
        only(running.raw(b""), 408)
        only(running.raw(POST), 408)
        only(running.raw(POST + b"Content-Length: 1000\r\n\r\nabc"), 408)
        assert time.monotonic() - began < 5
        with running.connect() as connection:  # a head in small pieces does not win time
            for _ in range(40):
                try:
                    connection.sendall(b"G")
                except OSError:
                    break
                time.sleep(0.02)
            assert time.monotonic() - began < 6
        with running.connect() as connection:  # the second request of a connection has its own time
            connection.sendall(GET)
            assert split(connection.recv(65536))[0][0] == 200
            connection.sendall(b"GET /")
            only(service.read_all(connection), 408)


def test_idle_connections_end(either, monkeypatch):
    monkeypatch.setattr("fastalex.serve.server.KEEP_ALIVE_S", 0.2)
    with service.running() as running, running.connect() as connection:
        connection.sendall(GET)
        began = time.monotonic()
        assert split(service.read_all(connection))[0][0] == 200
        assert time.monotonic() - began < 5


def test_heads_have_a_limit(either):
    with service.running() as running:
        for head in (b"GET /" + b"a" * 300_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 60_000):
            ((status, _, _),) = split(running.raw(head))
            assert status in (400, 431)


def test_the_next_head_has_a_limit_too():  # of httptools; h11 reads nothing before its answer
    async def endless(*_):
        await asyncio.sleep(60)

    with service.running() as running:
        running.front.app = endless
        only(running.raw(POST + b"Content-Length: 3\r\n\r\nabc" + GET[:-2] + b"a: b\r\n" * 100_000), 431)
        until(lambda: running.front.state.in_flight == 0)


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"\x00" * 1000,
    b"GET\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


def test_what_is_no_http_gets_one_sentence(either):
    with service.running(header_timeout_s=0.3, body_timeout_s=0.3) as running:
        for data in GARBAGE:
            status, headers, body = split(running.raw(data))[0]
            assert 400 <= status < 500 and headers["content-type"] == "application/json", data
            assert list(json.loads(body)) == ["error"], data
        assert httpx.get(running.url + "/v2/health/live").json() == {"live": True}


def test_connections_have_a_limit(either):
    with service.running(max_connections_per_client=3) as running:
        held = [running.connect() for _ in range(3)]
        for connection in held:
            connection.sendall(GET)
            assert b" 200 " in connection.recv(65536)
        only(running.raw(b""), 503)
        held.pop().close()
        until(lambda: b" 200 " in running.raw(GET.replace(b"1.1\r\n", b"1.0\r\n")))
        for connection in held:
            connection.close()
    with service.running(max_connections=1) as running, running.connect() as connection:
        connection.sendall(GET)
        assert b" 200 " in connection.recv(65536)
        only(running.raw(b""), 503)


def test_requests_in_a_row_are_answered_in_turn(either):
    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    post = POST + f"Content-Length: {len(PNG)}\r\n\r\n".encode() + PNG
    with service.running() as running:
        answers = split(running.raw(post + GET + post + last))
        assert [status for status, _, _ in answers] == [200] * 4
        assert [b"predictions" in body for _, _, body in answers] == [True, False, True, False]


def test_too_many_requests_in_a_row_end_the_connection(server):
    data = server.raw((POST + b"Content-Length: 3\r\n\r\nabc") * (2 * connections.MAX_PIPELINED))
    assert split(data)[-1][0] == 400
    until(lambda: server.front.state.in_flight == 0)


@pytest.mark.parametrize("pause", [0, 0.1])
def test_an_offer_of_another_protocol_is_ignored(either, pause):
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"  # as Java's client
    head = POST + offer + f"Content-Length: {len(PNG)}\r\n\r\n".encode()
    chunked = POST + offer + f"Transfer-Encoding: chunked\r\n\r\n{len(PNG):x}\r\n".encode() + PNG + b"\r\n0\r\n\r\n"
    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n")
    with service.running() as running, running.connect() as connection:
        connection.sendall(head)
        time.sleep(pause)
        connection.sendall(PNG + chunked + last)
        answers = split(service.read_all(connection))
    assert [status for status, _, _ in answers] == [200] * 3
    assert [b"predictions" in body for _, _, body in answers] == [True, True, False]


def test_a_client_that_has_ended_its_side_gets_its_answer(either):
    with service.running() as running, running.connect() as connection:
        connection.sendall(POST + f"Content-Length: {len(PNG)}\r\n\r\n".encode() + PNG)
        connection.shutdown(socket.SHUT_WR)
        assert split(service.read_all(connection))[0][0] == 200


def test_a_client_that_goes_away_stops_its_request(either):
    with service.running() as running:
        with running.connect() as connection:
            connection.sendall(POST + b"Content-Length: 1000\r\n\r\nabc")
            until(lambda: running.front.state.in_flight == 1)
        until(lambda: running.front.state.in_flight == 0)
        assert running.lines()[-1]["status"] == 499


def test_a_fault_of_the_program_is_logged_and_answered(client, server, monkeypatch):
    def fail(*_):
        raise RuntimeError("a \n fault")

    monkeypatch.setattr(server.repository, "get", fail)
    assert "its log has the reason" in error_of(client.get("/v2/models/digits"), 500)
    fault = next(line for line in reversed(server.lines()) if line.get("event") == "fault")
    assert fault["error"] == "RuntimeError('a \\n fault')" and "in fail" in fault["trace"]


def test_want_of_memory_is_answered(client, server, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(server.repository, "get", fail)
    answer = client.get("/v2/models/digits")
    assert "too little memory" in error_of(answer, 503) and answer.headers["retry-after"] == "1"
