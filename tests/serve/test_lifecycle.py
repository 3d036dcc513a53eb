"""The life of the command: start, errors at the start, the end without losing a request, word to systemd."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from fastalex.cli.main import main
from fastalex.serve import server
from fastalex.serve.repository import Repository
from fastalex.serve.settings import Settings
from tests.support import service

PNG = next((Path(__file__).resolve().parents[2] / "examples" / "digits").glob("*.png")).read_bytes()
MODEL = ("--model", "digits,device=cpu,threads=1")
POST = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
HEAD = POST + f"Content-Length: {len(PNG)}\r\n\r\n".encode()
IN_FLIGHT = 50


def connect(url):
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 20)


def in_flight(url):
    """The requests that the server is answering, save the one that asks."""
    text = httpx.get(url + "/metrics").text
    return int(float(re.search(r"^fastalex_requests_in_flight (.*)$", text, re.MULTILINE)[1])) - 1


def half_sent(url, count):
    """Connections with a request of which the last byte is missing, when the server knows of all."""
    held = [connect(url) for _ in range(count)]
    for connection in held:
        connection.sendall(HEAD + PNG[:-1])
    while in_flight(url) < count:
        time.sleep(0.02)
    return held


def log_of(child):
    """The lines of the log of a process that has ended, and its exit code."""
    errors = child.communicate(timeout=60)[1]
    return [json.loads(line) for line in errors.splitlines()], child.returncode


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_no_accepted_request_is_lost(stop):
    with service.process(*MODEL) as (child, url), connect(url) as idle:
        held = half_sent(url, IN_FLIGHT)
        idle.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in idle.recv(65536)
        child.send_signal(stop)
        deadline = time.monotonic() + 20
        while httpx.get(url + "/v2/health/live").status_code != 503:  # new requests are turned away
            assert time.monotonic() < deadline
        idle.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        turned_away = service.read_all(idle)
        assert b" 503 " in turned_away and b"retry-after" in turned_away and b"connection: close" in turned_away
        for connection in held:
            connection.sendall(PNG[-1:])
        answers = [service.read_all(connection) for connection in held]
        lines, code = log_of(child)
    assert code == 0
    assert [answer.split()[1] for answer in answers] == [b"200"] * IN_FLIGHT
    assert sum(line.get("path") == "/v1/classify" and line["status"] == 200 for line in lines) == IN_FLIGHT
    assert lines[-1]["event"] == "stopped" and lines[-1]["unanswered"] == 0


def test_a_server_with_nothing_to_do_stops_at_once():
    with service.process(*MODEL) as (child, url), connect(url):
        began = time.monotonic()
        child.terminate()
        assert log_of(child)[1] == 0
        assert time.monotonic() - began < 10, "not after the 30 s that it would give to requests"
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


def test_a_request_that_does_not_end_is_given_up_after_a_while():
    with service.process(*MODEL, "--drain", "0.3") as (child, url):
        held = half_sent(url, 1)
        child.terminate()
        lines, code = log_of(child)
        assert service.read_all(held[0]) == b""
    assert code == 1
    stopped = next(line for line in lines if line.get("event") == "stopped")
    assert stopped["unanswered"] == 1


def test_systemd_is_told():
    path = "\0fastalex-test-" + str(time.monotonic_ns())  # a name without a file
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(path)
        channel.settimeout(30)
        environment = {"NOTIFY_SOCKET": "@" + path[1:], "WATCHDOG_USEC": "100000"}
        with service.process(*MODEL, environment=environment) as (child, _):
            states = [channel.recv(100) for _ in range(3)]
            child.terminate()
            assert log_of(child)[1] == 0
            while states[-1] != b"STOPPING=1":
                states.append(channel.recv(100))
    assert states[0] == b"READY=1" and set(states[1:-1]) == {b"WATCHDOG=1"}


# The start ------------------------------------------------------------------------------------------------------------


def test_the_first_line_says_where_what_and_how():
    words = [sys.executable, "-m", "fastalex", "serve", *MODEL, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        line = child.stdout.readline()
        child.terminate()
    url = re.search(r"http://127\.0\.0\.1:[1-9]\d+", line)[0]
    assert line == f"serving digits on {url}: curl -F image=@x.jpg '{url}/v1/classify'\n"


def failed(capsys, *arguments):
    """The sentence with which the command does not start."""
    assert main(["serve", "--port", "0", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    return output.err


def test_a_port_in_use_is_refused(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"port {port} of 127.0.0.1 cannot be used (Address already" in failed(
            capsys, *MODEL, "--port", str(port)
        )


def test_of_two_servers_that_start_at_once_on_a_port_one_says_so(capsys, monkeypatch):
    first = server.bind(Settings(port=0))
    port = first.getsockname()[1]
    run = server.run

    def late(*arguments):
        first.listen()
        return run(*arguments)

    monkeypatch.setattr(server, "run", late)
    with first:
        sentence = failed(capsys, *MODEL, "--port", str(port))
    assert f"port {port} of 127.0.0.1 cannot be used (Address already in use); try another --port" in sentence


def test_a_start_that_fails_or_is_interrupted_waits_for_nothing(capsys, monkeypatch):
    waits = []
    monkeypatch.setattr(Repository, "close", lambda _, timeout: waits.append(timeout))
    failed(capsys, "--model", "m=/does/not/exist.safetensors")
    assert waits == [0]


@pytest.mark.parametrize(("whole", "seconds"), [(True, 7), (False, 0)])
def test_the_time_of_the_drain_is_given_once(whole, seconds, monkeypatch):
    waits = []
    monkeypatch.setattr(Repository, "close", lambda _, timeout: waits.append(timeout))
    monkeypatch.setattr(server, "run", lambda *_: whole)
    assert main(["serve", "--port", "0", *MODEL, "--drain", "7"]) == (0 if whole else 1)
    assert waits == [seconds]


STARTS = [
    (["--model", "m=/does/not/exist.safetensors,device=cpu"], "model 'm' cannot be loaded"),
    (["--model", "m=" + __file__ + ",device=cpu"], "model 'm' cannot be loaded"),
    (["--model", "digits", "--model", "digits"], "two models are called 'digits'"),
    (["--model", "digits,speed=3"], "an option of --model must be one of"),
    (["--model", "digits,device=tpu"], "model 'digits' cannot be loaded"),
    (["--model", "digits,device=cpu", "--lpips", "/does/not/exist.pth"], "the distance"),
    (["--model", "digits", "--host", "no such host"], "the host 'no such host' is not known here"),
    (["--model", "digits", "--host", "192.0.2.1"], "'192.0.2.1' is no address of this machine"),
    (["--model", "digits", "--port", "65536"], "--port: must be a whole number from 0 to 65535"),
    (["--model", "digits", "--port", "0655350"], "--port: must be a whole number from 0 to 65535"),
    (["--model", "digits", "--allowed-origin", "example.org"], "an allowed origin is as https://example.org"),
    (["--model", "digits", "--allowed-origin", "https://example.org/page"], "an allowed origin is as"),
    (["--model", "digits", "--allowed-host", "https://example.org"], "an allowed host is a name or an address"),
    (["--model", "digits", "--drain", "0"], "--drain: must be a number of seconds above 0"),
    (["--model", "digits", "--max-delay-us", "-1"], "--max-delay-us: must be a number of microseconds"),
    ([], "required: --model"),
]


@pytest.mark.parametrize(("arguments", "sentence"), STARTS, ids=range(len(STARTS)))
def test_what_cannot_be_served_is_an_error_at_the_start(arguments, sentence, capsys):
    assert sentence in failed(capsys, *arguments)


@pytest.mark.parametrize("module", ["starlette", "uvicorn", "prometheus_client", "python_multipart"])
def test_a_missing_package_is_named_with_the_extra(module, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else name)
    assert f"the service needs {module}: pip install 'fastalex[serve]'" in failed(capsys, *MODEL)


def test_the_help_has_the_defaults_of_the_settings(capsys):
    assert main(["serve", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("images in a call of the engine (default: 32)", "to be answered (default: 30)", "(default: 8000)"):
        assert part in text
