"""Published weights: the rows, the cache, and downloads that break off, lie or cannot be written."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import pty
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.weights import download, initial, registry, transfer
from fastalex.weights.readers import safetensors
from tests.support import servers

BODY = bytes(np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8))


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.body``; ``server.modes`` names the fault of each response."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        mode = server.modes.pop(0) if server.modes else "whole"
        if mode == "missing":
            self.send_error(404)
            return
        if mode == "silent":
            time.sleep(1.5)
            return
        start, end = 0, len(server.body)
        asked = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", server.tag) == server.tag
        if asked and same and mode != "no ranges":
            start = int(asked.group(1))
            if start >= end:
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        else:
            self.send_response(200)
        self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Connection", "close")
        self.end_headers()
        if mode == "breaks off":
            end = start + (end - start) // 2
        self.close_connection = True
        for at in range(start, end, 1 << 16):
            self.wfile.write(server.body[at : min(end, at + (1 << 16))])
            time.sleep(server.pause)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.handle_error = lambda *_: None  # clients that disconnect are part of the test
    made.body, made.tag, made.modes, made.requests, made.pause = BODY, '"one"', [], [], 0
    made.url = f"http://127.0.0.1:{made.server_address[1]}/net.safetensors"
    with servers.serving(made):
        yield made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return servers.use_cache(monkeypatch, tmp_path)


@pytest.fixture
def row(server, folder, monkeypatch):
    """A row ``net`` for the server's file."""
    return add(monkeypatch, server.url, server.body)


def add(monkeypatch, url, body, **changes):
    made = registry.File(
        "net", "net.safetensors", (url,), len(body), "sha256", hashlib.sha256(body).hexdigest(), "owt", "test", "none"
    )._replace(**changes)
    monkeypatch.setitem(registry.FILES, "net", made)
    return made


def fails(match):
    with pytest.raises(UserError, match=match) as caught:
        registry.fetch("net")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def content(path):
    with open(path, "rb") as stream:
        return stream.read()


def test_the_rows_are_whole():
    lengths = {"sha256": 64, "sha1": 40}
    for name, entry in registry.FILES.items():
        assert entry.name == name
        assert re.fullmatch("[0-9a-f]{%d}" % lengths[entry.algorithm], entry.digest)
        assert all(url.startswith(("http://", "https://")) for url in entry.urls) and entry.urls
        assert entry.variant in variants.VARIANTS
        assert entry.filename == os.path.basename(entry.filename)
        assert entry.source and entry.license
    assert registry.FILES["torchvision"].digest[:8] in registry.FILES["torchvision"].filename
    assert len({entry.filename for entry in registry.FILES.values()}) == len(registry.FILES)


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FASTALEX_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert registry.folder() == str(tmp_path / ".cache" / "fastalex")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert registry.folder() == "/x/fastalex"
    monkeypatch.setenv("FASTALEX_WEIGHTS_DIR", "~/w")
    assert registry.folder() == str(tmp_path / "w")


def test_a_file_is_downloaded_once(row, server, folder):
    path = registry.fetch("net")
    assert path == str(folder / "net.safetensors")
    assert content(path) == BODY
    assert registry.fetch("net") == path
    assert len(server.requests) == 1
    assert sorted(os.listdir(folder)) == ["net.safetensors", "net.safetensors.lock", "net.safetensors.verified"]


@pytest.mark.parametrize("modes", [["breaks off"], ["breaks off", "breaks off"]])
def test_a_download_that_breaks_off_goes_on(row, server, modes):
    server.modes[:] = modes
    assert content(registry.fetch("net")) == BODY
    starts = [int(request.get("Range", "bytes=0-")[6:-1]) for request in server.requests]
    assert starts == sorted(starts)
    assert starts[1] > 0
    assert server.requests[1]["If-Range"] == server.tag


def test_it_goes_on_in_another_run(row, server, folder):
    server.modes[:] = ["breaks off"] * 3
    fails("broke off.*2625000")
    assert (folder / "net.safetensors.part").stat().st_size == 2625000
    assert content(registry.fetch("net")) == BODY
    assert server.requests[-1]["Range"] == "bytes=2625000-"


def test_a_killed_process_leaves_a_part_that_is_gone_on_with(row, server, folder):
    server.pause = 0.02
    code = (
        "import sys\nfrom fastalex.weights import registry\n"
        f"registry.FILES['net'] = registry.File(*{tuple(row)!r})\nregistry.fetch('net')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    part = folder / "net.safetensors.part"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size > 0):
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not (folder / "net.safetensors").exists()
    assert 0 < part.stat().st_size < len(BODY)
    server.pause = 0
    assert content(registry.fetch("net")) == BODY
    assert "Range" in server.requests[-1]


def test_a_server_without_ranges_starts_again(row, server):
    server.modes[:] = ["breaks off", "no ranges"]
    assert content(registry.fetch("net")) == BODY


def test_a_file_that_changed_between_two_runs(row, server, folder, monkeypatch):
    server.modes[:] = ["breaks off"] * 3
    fails("broke off")
    server.body, server.tag = BODY[::-1], '"two"'
    add(monkeypatch, server.url, server.body)
    assert content(registry.fetch("net")) == BODY[::-1]


def test_a_damaged_part_is_dropped(row, server, folder):
    folder.mkdir()
    (folder / "net.safetensors.part").write_bytes(b"rubbish")
    (folder / "net.safetensors.part.tag").write_text(server.url + "\n" + server.tag)
    assert content(registry.fetch("net")) == BODY
    assert len(server.requests) == 2
    (folder / "net.safetensors").unlink()
    (folder / "net.safetensors.part").write_bytes(BODY + b"more")
    (folder / "net.safetensors.part.tag").write_text(server.url + "\n" + server.tag)
    assert content(registry.fetch("net")) == BODY


def test_a_wrong_hash_is_not_kept(row, server, folder):
    server.body = b"x" * len(BODY)
    message = fails("deleted")
    assert hashlib.sha256(server.body).hexdigest() in message
    assert row.digest in message
    assert os.listdir(folder) == ["net.safetensors.lock"] or "net.safetensors.part" not in os.listdir(folder)
    assert not (folder / "net.safetensors").exists()


def test_a_wrong_size_is_not_fetched(row, server):
    server.body = BODY + b"x"
    fails("3000001.*3000000")


def test_a_mirror_is_asked_next(row, server, monkeypatch):
    server.modes[:] = ["missing"]
    add(monkeypatch, server.url, BODY, urls=(server.url, server.url + "?mirror"), bytes=None)
    assert content(registry.fetch("net")) == BODY


def test_addresses_that_do_not_answer(row, server, monkeypatch, folder):
    server.modes[:] = ["missing"]
    assert str(folder) in fails("404 Not Found")
    monkeypatch.setattr(transfer, "TIMEOUT_S", 0.2)
    server.modes[:] = ["silent"]
    fails(r"no answer.*0\.2 s")
    add(monkeypatch, "http://127.0.0.1:9/net", BODY)
    fails("Connection refused")
    add(monkeypatch, "http://no-such-host.invalid/net", BODY)
    fails(r"no-such-host\.invalid")


def test_a_folder_that_cannot_be_written(row, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FASTALEX_WEIGHTS_DIR", str(tmp_path / "file" / "cache"))
    fails("Not a directory.*FASTALEX_WEIGHTS_DIR")


@pytest.mark.parametrize("what", ["write", "replace", "room"])
def test_a_full_disk(row, folder, monkeypatch, what):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    class Full(io.FileIO):
        write = full

    if what == "room":
        monkeypatch.setattr(download.shutil, "disk_usage", lambda _: _Usage)
        fails("3 MB.*1 MB")
        return
    if what == "replace":
        monkeypatch.setattr(download.os, "replace", full)
    else:
        real = open
        monkeypatch.setattr(
            download,
            "open",
            lambda name, mode="r", **o: Full(name, "wb") if name.endswith(".part") else real(name, mode, **o),
            raising=False,
        )
    fails("No space left.*FASTALEX_WEIGHTS_DIR")
    assert not (folder / "net.safetensors").exists()


class _Usage:
    free = 1_500_000


def test_a_file_that_lies_in_the_folder_is_used_offline_and_checked_once(row, server, folder, monkeypatch):
    folder.mkdir()
    path = folder / "net.safetensors"
    path.write_bytes(BODY)
    hashed = []
    real = download._hash_of
    monkeypatch.setattr(download, "_hash_of", lambda *given: hashed.append(1) or real(*given))
    assert registry.fetch("net") == registry.fetch("net") == str(path)
    assert len(hashed) == 1
    assert server.requests == []
    path.write_bytes(BODY[:-1] + b"!")
    os.utime(path, ns=(1, 1))
    fails("sha256.*'net'.*delete it")
    assert content(path)[-1:] == b"!"


def test_who_comes_second_waits_for_the_first(row, server):
    server.pause = 0.005
    results = []
    threads = [threading.Thread(target=lambda: results.append(registry.fetch("net"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len(server.requests) == 1
    assert content(results[0]) == BODY


def test_unknown_names_are_refused(folder):
    with pytest.raises(UserError, match="'alexnet'.*bvlc_alexnet, caffenet"):
        registry.fetch("alexnet")
    with pytest.raises(UserError, match=r"alexnet\.pth.*digits, torchvision"):
        AlexNet.from_pretrained("alexnet.pth")


def test_from_pretrained(server, folder, monkeypatch):
    arrays = initial.random_weights("alexnet-digits")
    stream = io.BytesIO()
    safetensors.write(stream, arrays, {})
    server.body = stream.getvalue()
    add(monkeypatch, server.url, server.body)
    net = AlexNet.from_pretrained("net", fc_weights="fp16", device="cpu")
    assert (net.variant.name, net.fc_weights) == ("alexnet-digits", "fp16")
    assert AlexNet.from_pretrained("digits").labels == [str(digit) for digit in range(10)]
    assert AlexNet.from_pretrained(folder / "net.safetensors").variant == net.variant


# The command


def test_the_list_and_fetch(row, capsys, folder):
    import json

    assert main(["weights"]) == 0
    out = capsys.readouterr().out
    assert "torchvision" in out and "244,408,911" in out and str(folder) in out
    assert main(["weights", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {entry["name"]: entry["present"] for entry in listed["weights"]}["net"] is False
    assert main(["weights", "fetch", "net", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"net": str(folder / "net.safetensors")}
    assert err == ""
    assert main(["weights", "fetch"]) == 2
    assert "name the weights" in capsys.readouterr().err
    assert main(["weights", "fetch", "nothing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("rich", [True, False])
def test_a_progress_bar_on_a_terminal_only(row, server, rich):
    code = (
        f"import sys\nif not {rich!r}: sys.modules['rich'] = None\n"
        "from fastalex.cli.main import main\nfrom fastalex.weights import registry\n"
        f"registry.FILES['net'] = registry.File(*{tuple(row)!r})\nsys.exit(main(sys.argv[1:]))\n"
    )
    for options, shown in ((["--json"], False), ([], True)):
        master, slave = pty.openpty()
        command = [sys.executable, "-c", code, "weights", "fetch", "net", *options]
        environment = dict(os.environ, TERM="xterm", COLUMNS="100")
        child = subprocess.Popen(command, stderr=slave, stdout=subprocess.PIPE, env=environment)
        os.close(slave)
        seen = b""
        try:
            while True:
                seen += os.read(master, 4096)
        except OSError:  # the terminal closes with the process
            pass
        os.close(master)
        child.communicate()
        assert child.returncode == 0
        assert (b"net.safetensors" in seen) == shown, seen
        os.unlink(os.path.join(registry.folder(), "net.safetensors"))


def test_a_registered_file_is_what_weights_load_reads(row, server, folder):
    with pytest.raises(UserError, match="cannot be used"):
        weights.load(registry.fetch("net"))
