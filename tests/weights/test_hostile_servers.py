"""Downloads from servers that lie, drip or break off, and into folders with links: the next address is asked."""

from __future__ import annotations

import hashlib
import os
import re
import socketserver
import time

import numpy as np
import pytest

from fastalex.errors import UserError
from fastalex.weights import download, registry, transfer
from tests.support import servers

BODY = bytes(np.random.default_rng(0).integers(0, 256, 50_000, dtype=np.uint8))
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


class Handler(socketserver.StreamRequestHandler):
    """Answers with the raw bytes, or by the function, that ``server.answers`` has for the path."""

    def handle(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        self.server.requests.append(head.decode("latin-1"))
        answer = self.server.answers[head.split()[1].decode()]
        if callable(answer):
            answer(self.wfile)
        else:
            self.wfile.write(answer)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        """Clients that hang up are part of the test."""


@pytest.fixture
def server():
    made = Server(("127.0.0.1", 0), Handler)
    made.answers, made.requests = {"/good": GOOD}, []
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    with servers.serving(made):
        yield made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = servers.use_cache(monkeypatch, tmp_path)
    made.mkdir()
    return made


@pytest.fixture
def fetch(server, folder, monkeypatch):
    def fetch(*urls, size=50_000):
        digest = hashlib.sha256(BODY).hexdigest()
        row = registry.File("net", "net.bin", urls, size, "sha256", digest, "owt", "test", "none")
        monkeypatch.setitem(registry.FILES, "net", row)
        return registry.fetch("net", quiet=True)

    return fetch


def refusal(fetch, *urls, **options):
    with pytest.raises(UserError) as caught:
        fetch(*urls, **options)
    message = str(caught.value)
    assert message.isprintable()
    return message


def with_header(line, body=BODY, status=b"200 OK"):
    return b"HTTP/1.1 " + status + b"\r\n" + line + b"\r\n\r\n" + body


ANSWERS = {
    "negative length": (with_header(b"Content-Length: -5"), "length that it states, '-5'"),
    "superscript length": (with_header(b"Content-Length: \xb2"), "length that it states"),
    "long length": (with_header(b"Content-Length: " + b"9" * 5000), "length that it states"),
    "two lengths": (with_header(b"Content-Length: 5\r\nContent-Length: 50000"), "'5, 50000'"),
    "another length": (with_header(b"Content-Length: 7"), "7 bytes, the registered one has 50000"),
    "always a part": (with_header(b"Content-Range: bytes 0-9/10", BODY[:10], b"206 Part"), "another part"),
    "no content": (with_header(b"", b"", b"204 No Content"), "204 No Content"),
    "control characters": (with_header(b"", b"", b"500 bad\x1b[2J\rthing\x85\xa0"), "500 bad"),
    "long reason": (with_header(b"", b"", b"500 " + b"x" * 10000), "500 xxx"),
    "a loop": (with_header(b"Location: /bad", b"", b"302 Found"), "redirects more than 10 times"),
    "a local file": (with_header(b"Location: file:///etc/passwd", b"", b"302 Found"), "neither http nor https"),
    "control characters in a redirect": (with_header(b"Location: ftp://a/\x1b[2J", b"", b"302 Found"), "redirects"),
    "a redirect nowhere": (with_header(b"", b"", b"302 Found"), "302 Found"),
    "no status": (b"\0\1\2\r\n\r\n", "net.bin"),
    "nothing": (b"", "net.bin"),
    "a long line": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000, "line"),
    "many lines": (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200, "headers"),
    "too much": (with_header(b"X: y", BODY + b"!"), "more than the 50000 bytes"),
    "too little": (GOOD[:-10], "broke off after 49990 of 50000"),
    "bad chunks": (with_header(b"Transfer-Encoding: chunked", b"zz\r\n"), "after 0 bytes"),
    "another file": (with_header(b"Content-Length: 50000", BODY[::-1]), "was deleted"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_next_address_is_asked(server, fetch, name):
    server.answers["/bad"], reason = ANSWERS[name]
    assert reason in refusal(fetch, server.url + "/bad")
    path = fetch(server.url + "/bad", server.url + "/good")
    with open(path, "rb") as stream:
        assert stream.read() == BODY


@pytest.mark.parametrize(
    "url", ["http://a..b/x", "http://[::1/x", "http://127.0.0.1:99999/x", "ftp://127.0.0.1/x", "x"]
)
def test_addresses_that_are_none(server, fetch, url):
    refusal(fetch, url)
    assert fetch(url, server.url + "/good")


def test_a_server_without_tls(server, fetch, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT_S", 0.1)
    refusal(fetch, server.url.replace("http", "https") + "/good")


# Parts --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def part(server, fetch, folder, monkeypatch):
    """A part of 49,990 bytes from /bad."""
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.answers["/bad"] = GOOD[:-10]
    refusal(fetch, server.url + "/bad")
    assert (folder / "net.bin.part").stat().st_size == 49990
    server.requests.clear()
    return server.url + "/bad"


def ranged(text, body, status=b"206 Partial Content", more=b""):
    return with_header(b"Content-Range: " + text + more, body, status)


def test_a_broken_note_of_a_tag_does_no_harm(server, fetch, folder, part):
    (folder / "net.bin.part.tag").write_text(part + '\n"a"\r\nX: b')
    server.answers["/bad"] = ranged(b"bytes 49990-49999/50000", BODY[-10:])
    assert fetch(part)
    assert "if-range" not in server.requests[0].lower()


def test_a_part_is_completed(server, fetch, part):
    server.answers["/bad"] = ranged(b"bytes 49990-49999/50000", BODY[-10:])
    assert fetch(part)
    assert "range: bytes=49990-" in server.requests[0].lower()


@pytest.mark.parametrize(
    ("text", "more", "reason"),
    [
        (b"bytes 49990-49999/60000", b"", "is not the rest"),
        (b"bytes 49990-49998/50000", b"", "is not the rest"),
        (b"bytes 49990-49999/50000", b"\r\nContent-Length: 11", "is not the rest"),
        (b"bytes 49990-59999/60000", b"", "has a file of 60000 bytes"),
        (b"bytes 49990-49980/50000", b"", "is not the rest"),
        (b"bytes 0-49999/50000", b"", "another part"),
        (b"bytes 49990--1/50000", b"", "another part"),
        (b"bytes 49990-" + b"9" * 5000 + b"/*", b"", "another part"),
        (b"rubbish\x1b", b"", "another part"),
    ],
)
def test_wrong_ranges(server, fetch, part, text, more, reason):
    server.answers["/bad"] = ranged(text, BODY[-10:], more=more)
    assert reason in refusal(fetch, part)
    assert len(server.requests) <= 2
    assert fetch(part, server.url + "/good")


def test_a_tag_that_is_no_tag_is_not_kept(server, fetch, folder):
    lines = b'ETag: "a"\r\n b: c\r\nContent-Length: 50000'
    server.answers["/bad"] = with_header(lines, BODY[:100])
    refusal(fetch, server.url + "/bad")
    assert (folder / "net.bin.part.tag").read_text() == server.url + "/bad\n"


# Slow servers -------------------------------------------------------------------------------------------------------


def dripping(start, piece=b"1", pause=0.01):
    """Send ``start``, and then a ``piece`` now and then, for ever."""

    def answer(out):
        out.write(start)
        while True:
            out.write(piece)
            time.sleep(pause)

    return answer


STARTS = {
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n",
    "body of any length": b"HTTP/1.1 200 OK\r\n\r\n",
    "status": b"",
    "header": b"HTTP/1.1 200 OK\r\nX: ",
    "length of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "body of a redirect": b"HTTP/1.1 302 Found\r\nLocation: /good\r\n\r\n",
}


@pytest.mark.parametrize("where", STARTS)
def test_a_byte_now_and_then(server, fetch, monkeypatch, where):
    monkeypatch.setattr(transfer, "STALL_S", 0.25)
    monkeypatch.setattr(transfer, "LEAST_BYTES", 2000)
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.answers["/bad"] = dripping(STARTS[where])
    began = time.monotonic()
    if where == "body of a redirect":
        assert fetch(server.url + "/bad")
    else:
        assert re.search(r"only \d+ bytes within 0\.25 s", refusal(fetch, server.url + "/bad"))
        assert fetch(server.url + "/bad", server.url + "/good")
    assert time.monotonic() - began < 5


def test_an_address_has_so_much_time(server, fetch, monkeypatch):
    monkeypatch.setattr(transfer, "STALL_S", 0.5)
    monkeypatch.setattr(transfer, "LEAST_BYTES", 100)
    monkeypatch.setattr(transfer, "MAX_SECONDS", 0.9)
    server.answers["/bad"] = dripping(STARTS["body of any length"], b"x" * 100)
    assert "it took more than 0.00025 hours" in refusal(fetch, server.url + "/bad", size=None)


# Links --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".part", ".part.tag", ".lock", ".verified"])
@pytest.mark.parametrize("kind", ["symbolic", "dangling", "hard", "pipe"])
def test_nothing_is_written_through_a_link(server, fetch, folder, tmp_path, suffix, kind):
    victim, link = tmp_path / "victim", folder / ("net.bin" + suffix)
    if kind != "dangling":
        victim.write_bytes(b"important")
    if kind == "pipe":
        os.mkfifo(link)
    elif kind == "hard":
        os.link(victim, link)
    else:
        link.symlink_to(victim)
    assert f"{link} is a link to another file, or no file at all; delete it" in refusal(fetch, server.url + "/good")
    assert victim.exists() == (kind != "dangling")
    assert kind == "dangling" or victim.read_bytes() == b"important"
    link.unlink()
    assert fetch(server.url + "/good")
