"""Images from web servers: a server in a thread that answers as good and as bad ones do."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.images import open_image, remote
from fastalex.video import sources

# A self-signed certificate of 127.0.0.1 and its key, valid for a hundred years.
CERTIFICATE = Path(__file__).parents[1] / "support" / "localhost.pem"
PIXELS = np.random.default_rng(3).integers(0, 256, (12, 17, 3), dtype=np.uint8)


def png():
    stream = BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    return stream.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the first part of the path."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.seen.append(self.path)
        action = getattr(self, self.path.split("?")[0].strip("/").split("/")[0].split(".")[0])
        try:
            action()
        except OSError:  # the client has had enough
            self.server.cut.set()

    def send(self, content=b"", status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def photo(self):
        self.send(png(), Content_Type="image/png")

    def silent(self):  # states no type
        self.send(png())

    def page(self):
        self.send(b"<!DOCTYPE html><html>hello</html>", Content_Type="text/html; charset=utf-8")

    def unlabeled(self):
        self.send(b"\n<html>hello</html>", Content_Type="application/octet-stream")

    def missing(self):
        self.send(b"<html>no</html>", 404, Content_Type="text/html")

    def text(self):
        self.send(b"not an image", Content_Type="image/png")

    def to(self):  # /to/<n>: n redirects before the image
        left = int(self.path.rsplit("/", 1)[1])
        self.send(status=(301, 302, 303, 307, 308)[left % 5], Location=f"/to/{left - 1}" if left > 1 else "/photo")

    def loop(self):
        self.send(status=302, Location="/loop")

    def astray(self):
        self.send(status=302, Location=self.server.target)

    def endless(self):  # no Content-Length
        self.send(Content_Type="image/png")
        while True:
            self.wfile.write(bytes(1 << 16))
            self.server.bytes += 1 << 16

    def huge(self):
        self.send(Content_Type="image/png", Content_Length=str(10**12))

    def short(self):
        self.send(png()[:50], Content_Type="image/png", Content_Length="1000")

    def drip(self):
        self.send(Content_Type="image/png", Content_Length="100000")
        while True:
            self.wfile.write(b"x")
            time.sleep(0.02)

    def headers_that_drip(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
        while True:
            self.wfile.write(b"x")
            time.sleep(0.02)

    def mute(self):
        time.sleep(3)

    def noise(self):
        self.wfile.write(b"\x00\x1b[31mnothing\r\n\r\n")

    def stream(self):
        self.send(Content_Type="multipart/x-mixed-replace; boundary=x")
        while True:
            self.wfile.write(b"--x\r\nContent-Type: image/png\r\n\r\n" + png() + b"\r\n")
            time.sleep(0.01)

    def camera(self):
        stream = BytesIO()
        Image.fromarray(np.repeat(np.repeat(PIXELS, 8, 0), 8, 1)).save(stream, "JPEG")
        part = b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(stream.getvalue())
        self.send(Content_Type="multipart/x-mixed-replace; boundary=x")
        while True:
            self.wfile.write(part + stream.getvalue() + b"\r\n")
            time.sleep(0.01)

    def chunked(self):
        self.send(Content_Type="image/png", Transfer_Encoding="chunked")
        content = png()
        for start in range(0, len(content), 100):
            part = content[start : start + 100]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        if not self.path.endswith("?broken"):
            self.wfile.write(b"0\r\n\r\n")

    def cookies(self):
        self.send(png(), Content_Type="IMAGE/PNG; q=1", Set_Cookie="a=b")


@pytest.fixture(scope="module")
def running():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    made.cut = threading.Event()
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def server(running, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running.seen, running.bytes, running.target = [], 0, "/photo"
    running.cut.clear()
    return running


def refusal(url, *words):
    with pytest.raises(UserError) as error:
        open_image(url)
    text = str(error.value)
    assert "\n" not in text and text.isprintable()
    for word in words:
        assert word in text
    return text


@pytest.mark.parametrize(
    "path", ["/photo", "/silent", "/photo?id=3&name=a%20b", "/to/1", "/to/3", "/cookies", "/chunked", "/photo?ä b"]
)
def test_an_address_is_an_image(server, path):
    np.testing.assert_array_equal(np.asarray(open_image(server.url + path)), PIXELS)


def test_the_scheme_may_be_in_capitals(server):
    assert open_image(server.url.replace("http", "HTTP") + "/photo").size == (17, 12)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/page", ("web page", "address of the image itself")),
        ("/unlabeled", ("web page",)),
        ("/missing", ("404 Not Found",)),
        ("/text", ("/text'", "is not a JPEG")),
        ("/short", ("broke off after 50 of 1000 bytes",)),
        ("/chunked?broken", ("broke off",)),
        ("/huge", ("32 MB",)),
        ("/stream", ("stream", "multipart/x-mixed-replace")),
        ("/to/4", ("more than 3 times",)),
        ("/loop", ("more than 3 times",)),
        ("/noise", ("cannot read",)),
    ],
)
def test_what_is_no_image_is_one_sentence(server, path, words):
    began = time.monotonic()
    refusal(server.url + path, f"{server.url}{path}'", *words)
    assert time.monotonic() - began < 5
    assert len(server.seen) <= 4


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "FILE:///etc/hostname", "ftp://127.0.0.1/a.png", "data:image/png;base64,AAAA"]
)
def test_redirects_lead_to_web_servers_only(server, target):
    server.target = target
    refusal(server.url + "/astray", "neither http nor https")


def test_a_redirect_does_not_leave_https(server):
    with pytest.raises(remote._Problem, match="from https to 'http://b/y'"):
        remote._redirected("https://a/x", "http://b/y")
    assert remote._redirected("https://a/x", "//b/y") == "https://b/y"
    assert remote._redirected("http://a/x", "https://b/y") == "https://b/y"


def test_certificates_are_verified_and_https_is_not_left(server, monkeypatch):
    """A server with a certificate of its own, which is trusted only when ``SSL_CERT_FILE`` names it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    secure = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    secure.daemon_threads = True
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    secure.seen, secure.cut, secure.target = [], threading.Event(), server.url + "/photo"
    threading.Thread(target=secure.serve_forever, args=(0.05,), daemon=True).start()
    url = f"https://127.0.0.1:{secure.server_address[1]}"
    try:
        refusal(url + "/photo", "certificate")
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        np.testing.assert_array_equal(np.asarray(open_image(url + "/to/2")), PIXELS)
        refusal(url + "/astray", f"from https to '{server.url}/photo'")
        assert server.seen == []
        server.target = url + "/photo"
        np.testing.assert_array_equal(np.asarray(open_image(server.url + "/astray")), PIXELS)
        monkeypatch.setattr(remote, "MAX_SECONDS", 0.3)
        refusal(url + "/drip", "0.3 s")
        assert secure.cut.wait(3)
    finally:
        secure.shutdown()
        secure.server_close()


def test_a_body_without_a_length_is_bounded(server):
    refusal(server.url + "/endless", "32 MB")
    assert server.bytes + (1 << 16) >= remote.MAX_BYTES
    assert server.cut.wait(5)
    assert server.bytes < remote.MAX_BYTES + (16 << 20)  # what the buffers of the connection hold


@pytest.mark.parametrize("path", ["/drip", "/headers_that_drip", "/mute"])
def test_the_time_is_bounded_in_all(server, monkeypatch, path):
    monkeypatch.setattr(remote, "MAX_SECONDS", 0.3)
    before = threading.active_count()
    began = time.monotonic()
    refusal(server.url + path, "0.3 s")
    assert time.monotonic() - began < 1.5
    if path != "/mute":  # the connection is cut, so that no thread stays behind
        assert server.cut.wait(3)
    names = [thread.name for thread in threading.enumerate()]
    deadline = time.monotonic() + 3
    while "fastalex-remote-image" in names and time.monotonic() < deadline:
        time.sleep(0.02)
        names = [thread.name for thread in threading.enumerate()]
    assert "fastalex-remote-image" not in names, before


def test_limits_are_the_documented_ones():
    assert (remote.MAX_BYTES, remote.MAX_SECONDS, remote.MAX_REDIRECTS) == (32 * 1024 * 1024, 10, 3)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/a.png", ("refused",)),
        ("http://no-such-host.invalid/a.png", ("host cannot be found",)),
        ("http://", ("no address",)),
        ("http:///a.png", ("no address",)),
        ("http://[::1/a.png", ("IPv6",)),
        ("http://127.0.0.1:port/a.png", ("port",)),
        ("http://user:secret@127.0.0.1/a.png", ("password",)),
        ("http://127.0.0.1:9/\x1b[31m.png", ("\\x1b",)),
        ("https://127.0.0.1:9/" + "a" * 5000, ("refused",)),
    ],
)
def test_bad_addresses_are_one_sentence(monkeypatch, url, words):
    monkeypatch.setenv("no_proxy", "*")
    assert len(refusal(url, *words)) < 500


def test_an_unknown_kind_of_proxy_is_one_sentence(server, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    refusal(server.url + "/photo", "socks5")


def test_urllib_is_loaded_for_addresses_only():
    code = "import sys, fastalex.images as i; i.open_image; print('urllib.request' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/photo", "images"),
        ("/photo.jpg", "images"),
        ("/photo?id=3", "images"),
        ("/silent.PNG?x=1", "images"),
        ("/silent", "network"),
        ("/page", "images"),
        ("/missing", "images"),
        ("/stream", "network"),
        ("/stream.jpg", "network"),  # cameras call their streams so
        ("/to/2", "images"),
    ],
)
def test_images_are_told_from_streams(server, path, kind):
    ((found, url, error),) = sources.expanded([server.url + path])
    assert (found, url) == (kind, server.url + path)
    assert (error is not None) == (path == "/missing")


def test_streams_are_not_asked_needlessly(server, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    words = [server.url + "/a.mp4", server.url.replace("//", "//user:word@") + "/photo.jpg", "rtsp://127.0.0.1:9/x"]
    assert [kind for kind, _, _ in sources.expanded(words)] == ["network"] * 3
    assert server.seen == []
    ((kind, _, error),) = sources.expanded(["http://127.0.0.1:9/a.jpg"])
    assert kind == "images" and "refused" in str(error)
    assert [kind for kind, _, _ in sources.expanded(["http://127.0.0.1:9/live"])] == ["network"]


def test_the_command_line(server, tmp_path, capsys):
    path = tmp_path / "photo.png"
    path.write_bytes(png())
    assert main(["classify", "--weights", "digits", "--json", str(path), server.url + "/photo?id=3"]) == 0
    out, err = capsys.readouterr()
    local, distant = json.loads(out)["images"]
    assert (distant["path"], err) == (server.url + "/photo?id=3", "")
    assert distant["predictions"] == local["predictions"]
    assert main(["classify", "--weights", "digits", "--headless", server.url + "/photo", str(path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[1]["predictions"] == lines[2]["predictions"]
    assert main(["classify", "--weights", "digits", str(path), server.url + "/page", server.url + "/missing.jpg"]) == 2
    out, err = capsys.readouterr()
    assert "photo.png" in out
    assert [line.split(":")[0] for line in err.splitlines()] == ["fastalex"] * 2
    assert "web page" in err and "404" in err


def test_a_camera_on_a_web_server_stays_a_stream(server, capsys):
    pytest.importorskip("cv2")
    command = ["classify", "--weights", "digits", "--headless", "--frames", "2", server.url + "/camera.jpg"]
    assert main(command) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["height"], line["width"]) for line in lines[1:]] == [(96, 136)] * 2
