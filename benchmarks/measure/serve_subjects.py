"""What is measured: servers in processes of their own, and the loop without one. Each is stopped while another runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from benchmarks.measure import processes, serve_load
from benchmarks.measure.errors import EngineError

START_S = 60.0
ANSWERS = 4  # images whose results are compared
BATCHES = "fastalex_batch_images"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Server:
    """A server that answers one ``form`` of :data:`benchmarks.measure.serve_load.FORMS`; its output goes to a file.

    :param words: its command, in which ``{port}`` stands for the port.
    """

    def __init__(self, name: str, form: str, words: Sequence[str], folder: Path) -> None:
        self.name, self.form, self.port = name, form, free_port()
        self.images = str(folder / "images")
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [word.replace("{port}", str(self.port)) for word in words],
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that all of its processes can be stopped and ended
            )

    def wait(self) -> Server:
        """Wait until it answers. :raises EngineError: if it ends before, or takes too long."""
        request = self.requests(1)[0]
        begin = time.monotonic()
        while self.process.poll() is None and time.monotonic() - begin < START_S:
            try:
                if send(self.port, request)[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.1)
        said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise EngineError(f"{self.name} does not answer: {said[-1][:300] if said else 'no message'}")

    def requests(self, count: int) -> List[bytes]:
        files = sorted(Path(self.images).iterdir())[:count]
        return [serve_load.FORMS[self.form](path.read_bytes()) for path in files]

    def answers(self) -> List[bytes]:
        """The bodies of the answers to the first images."""
        return [send(self.port, request)[1] for request in self.requests(ANSWERS)]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let it run, and stop it (SIGSTOP) after the block."""
        os.killpg(self.process.pid, signal.SIGCONT)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGSTOP)

    def measure(self, warmup_s: float, seconds: float, **how: Any) -> Dict[str, Any]:
        """One row. :param how: clients or rate, as for serve_load."""
        before = self.batches()
        spec = {"port": self.port, "form": self.form, "images": self.images, "pid": self.process.pid, **how}
        words = processes.command("measure.serve_load", json.dumps(dict(spec, warmup_s=warmup_s, seconds=seconds)))
        row = processes.answer("load", words)
        if set(row["statuses"]) != {"200"}:
            raise EngineError(f"{self.name} answered {row['statuses']}")
        after = self.batches()
        if after and before and after[1] > before[1]:
            row["batch"] = (after[0] - before[0]) / (after[1] - before[1])
        return row

    def batches(self) -> Optional[List[float]]:
        """Images and calls of the engine until now, from fastalex's own metrics; None for other servers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError:
            return None
        found = [
            float(line.rsplit(" ", 1)[1])
            for end in ("_sum", "_count")
            for line in text.splitlines()
            if line.startswith(BATCHES + end)
        ]
        return found if len(found) == 2 else None

    def close(self) -> None:
        """End it and all of its processes."""
        for number in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
        self.process.wait()


class Loop:
    """Decoding, preprocessing and the engine without a server."""

    name = "no server"

    def __init__(self, weights: str, threads: int, folder: Path) -> None:
        spec = {"weights": weights, "threads": threads, "images": str(folder / "images")}
        self.process = subprocess.Popen(
            processes.command("measure.serve_loop", json.dumps(spec)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            universal_newlines=True,
        )

    def ask(self, order: Mapping[str, Any]) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise EngineError(f"the loop without a server ended with code {self.process.wait()}")
        return json.loads(line)

    def probabilities(self) -> List[List[float]]:
        answer: List[List[float]] = self.ask({"answers": ANSWERS})
        return answer

    def measure(self, batch: int, seconds: float) -> Dict[str, Any]:
        row: Dict[str, Any] = self.ask({"batch": batch, "seconds": seconds})
        return row

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def send(port: int, request: bytes) -> Any:
    """Send one whole request; return the status and the body. :raises OSError: if there is no answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        head, body = b"", b""
        while not body:
            data = connection.recv(1 << 16)
            if not data:
                raise ConnectionError("the connection was closed")
            head += data
            before, end, rest = head.partition(b"\r\n\r\n")
            if end:
                fields = dict(line.lower().split(b":", 1) for line in before.split(b"\r\n")[1:])
                body = rest
                while len(body) < int(fields[b"content-length"]):
                    body += connection.recv(1 << 16)
                return int(head[9:12]), body
    raise ConnectionError("no answer")


def fastalex(name: str, form: str, weights: str, folder: Path, *options: str) -> Server:
    words = [sys.executable, "-m", "fastalex", "serve", "--model", f"net={weights}", "--port", "{port}", *options]
    return Server(name, form, words, folder)


def peer(name: str, module: str, folder: Path, **spec: Any) -> Server:
    """FastAPI or LitServe. :param spec: as their programs take it, but for the port and the file."""
    text = json.dumps(dict(spec, onnx=str(folder / "net.onnx"), port=0)).replace('"port": 0', '"port": {port}')
    return Server(name, module, processes.command(f"measure.serve_{module}", text), folder)
