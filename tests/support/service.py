"""Servers of the HTTP service: in a thread of this process, or as the command in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading

from fastalex.serve.access_log import Log
from fastalex.serve.app import build
from fastalex.serve.metrics import Metrics
from fastalex.serve.repository import Repository
from fastalex.serve.server import Server, bind
from fastalex.serve.settings import Settings
from fastalex.serve.specs import ModelSpec

SPEC = ModelSpec.parse("digits,device=cpu,threads=1")
START_S = 60  # of a process on a busy machine


class Service:
    """A running server: its address, its parts and its log."""

    def __init__(self, port, front, repository, log):
        self.port, self.front, self.repository, self._log = port, front, repository, log
        self.host = f"127.0.0.1:{port}"
        self.url = "http://" + self.host

    def lines(self):
        """The lines of the log so far."""
        self.front.log.flush()
        return [json.loads(line) for line in self._log.getvalue().splitlines()]

    def connect(self, timeout=10):
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def raw(self, data, timeout=10):
        """Send bytes and return all that comes back until the server closes."""
        with self.connect(timeout) as connection:
            connection.sendall(data)
            return read_all(connection)


def read_all(connection):
    """What arrives until the other side ends the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while True:
            part = connection.recv(65536)
            if not part:
                break
            parts.append(part)
    return b"".join(parts)


@contextlib.contextmanager
def running(models=(SPEC,), routes=(), **settings):
    """A server in a thread, on a free port, until the block ends."""
    settings = Settings(models=tuple(models), port=0, **settings)
    metrics, text = Metrics(), io.StringIO()
    repository = Repository(settings, metrics)
    repository.start(wait=True)
    bound = bind(settings)
    front = build(settings, repository, metrics, routes, log=Log(text))
    server, ready = Server(front, settings, bound), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(ready.set)))
    thread.start()
    try:
        assert ready.wait(START_S)
        yield Service(bound.getsockname()[1], front, repository, text)
    finally:
        server.stop()
        thread.join()
        bound.close()
        repository.close()


@contextlib.contextmanager
def process(*arguments, environment=None, command="serve"):
    """``fastalex serve``, or another command that serves, in a process: yields it and its address, and ends it."""
    words = [sys.executable, "-m", "fastalex", command, "--port", "0", "--json", *arguments]
    child = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        line = child.stdout.readline()
        assert line, child.stderr.read()
        yield child, json.loads(line)["address"]
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
        child.communicate()
