"""The HTTP service on this machine: beside a loop without a server, beside other servers, with and without batching.

All over loopback. The client is a process of its own (serve_load.py); its processor time is recorded and left out of
what is counted as the server's, but on few processors it takes time from the server. Servers take turns in shuffled
order, and are stopped (SIGSTOP) while another is measured. Before that their answers are compared.
"""

from __future__ import annotations

import json
import random
import statistics
import struct
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from benchmarks.measure import machine, serve_files, timing
from benchmarks.measure import serve_subjects as subjects
from benchmarks.measure.errors import WrongResultError

NETWORK = "torchvision"
CLIENTS, MANY = 32, 64
ROUNDS, WARMUP_S, SECONDS = 3, 1.0, 3.0
HALF_LOAD_S = 30.0
# Relative to the largest probability: sums of up to 9216 products in float32, as benchmarks/measure/timing.py has them.
TOLERANCE = timing.TOLERANCES["fp32"]
LITSERVE = {"max_batch": 32, "batch_timeout_s": 0.002}  # as fastalex's own defaults
PACKAGES = ("fastapi", "litserve", "onnxruntime", "uvicorn", "starlette", "pillow")

#: Name of a row of the comparison -> the server's module and its options.
PEERS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "FastAPI and onnxruntime": ("fastapi", {"spinning": True}),
    "FastAPI and onnxruntime, no spinning": ("fastapi", {"spinning": False}),
    "LitServe and onnxruntime": ("litserve", {"spinning": True, **LITSERVE}),
    "LitServe and onnxruntime, no spinning": ("litserve", {"spinning": False, **LITSERVE}),
}
V2, FORM, ALONE = "fastalex, v2 tensors", "fastalex, form", subjects.Loop.name
BATCHING, NO_BATCHING = "batching", "no batching"


class Measurement:
    """Rows of all cases. :param quick: one short turn each, and no half load."""

    def __init__(self, folder: Path, threads: int, quick: bool) -> None:
        self.folder, self.threads, self.quick = folder, threads, quick
        self.order = random.Random(2012)
        self.rows: List[Dict[str, Any]] = []
        self.open: List[Any] = []
        self.taken: Dict[str, List[Dict[str, Any]]] = {}
        self.seconds = 2.0 if quick else SECONDS

    def run(self) -> Dict[str, Any]:
        images = serve_files.write_images(self.folder / "images")
        serve_files.write_network(self.folder, NETWORK)
        try:
            self.full_size(str(self.folder / "net.safetensors"))
            self.end()
            self.beside_loop("digits", "digits")
        finally:
            self.end()
        return {"images": images, "rows": self.rows}

    def end(self) -> None:
        while self.open:
            self.open.pop().close()

    def serve(self, name: str, form: str, weights: str, *options: str) -> subjects.Server:
        options += ("--threads", str(self.threads))
        server = subjects.fastalex(name, form, weights, self.folder, *options)
        return self.started(server)

    def started(self, server: subjects.Server) -> subjects.Server:
        self.open.append(server)
        with server.running():
            server.wait()
        return server

    def full_size(self, weights: str) -> None:
        server = self.beside_loop(NETWORK, weights)
        off = self.serve(NO_BATCHING, "v2", weights, "--max-batch", "1")
        turns = {BATCHING: self.turn(server, clients=MANY), NO_BATCHING: self.turn(off, clients=MANY)}
        self.measure(NETWORK, "batching", turns)
        if not self.quick:
            self.half_load(server)

    def beside_loop(self, network: str, weights: str) -> subjects.Server:
        """The server beside a loop of the same batch size, for the whole network also beside other servers."""
        server = self.serve(f"fastalex-{network}", "v2", weights)
        loop = subjects.Loop(weights, self.threads, self.folder)
        self.open.append(loop)
        expected = loop.probabilities()
        self.check(server, expected)
        turns: Dict[str, Callable[[], Dict[str, Any]]] = {V2: self.turn(server, clients=CLIENTS)}
        # The first round's server runs before the loop, and tells the batch size that it had.
        turns[ALONE] = lambda: loop.measure(self.batch(), self.seconds)
        if network == NETWORK:
            form = self.serve("fastalex-form", "form", weights)
            self.check(form, expected)
            turns[FORM] = self.turn(form, clients=CLIENTS)
            for name, (module, spec) in PEERS.items():
                other = self.started(subjects.peer(name, module, self.folder, **spec))
                self.check(other, expected)
                turns[name] = self.turn(other, clients=CLIENTS)
        self.measure(network, "comparison", turns)
        return server

    def batch(self) -> int:
        """The mean batch size of the server in its turns until now."""
        return max(1, round(statistics.mean(row["batch"] for row in self.taken[V2])))

    def turn(self, server: subjects.Server, **how: Any) -> Callable[[], Dict[str, Any]]:
        def take() -> Dict[str, Any]:
            with server.running():
                return server.measure(WARMUP_S, self.seconds, **how)

        return take

    def measure(self, network: str, case: str, turns: Mapping[str, Callable[[], Dict[str, Any]]]) -> None:
        """All in shuffled order, round after round; the first is in the order given."""
        self.taken = {name: [] for name in turns}
        for number in range(1 if self.quick else ROUNDS):
            for name in self.order.sample(list(turns), len(turns)) if number else turns:
                time.sleep(0.1)  # until the threads of the one before sleep
                self.taken[name].append(turns[name]())
        for name, rows in self.taken.items():
            self.rows.append(dict(merged(rows), network=network, case=case, name=name))
            text = "{network}, {name}: {images_per_s:.1f} images/s, {images_per_cpu_s:.1f} a processor second"
            print(text.format(**self.rows[-1]), file=sys.stderr)

    def half_load(self, server: subjects.Server) -> None:
        """Requests at random moments, at half of the rate that the clients reached who wait for answers."""
        reached = next(row["images_per_s"] for row in self.rows if row["name"] == V2 and row["network"] == NETWORK)
        with server.running():
            row = server.measure(WARMUP_S, HALF_LOAD_S, rate=reached / 2)
        self.rows.append(dict(row, network=NETWORK, case="half load", name=V2, rate=reached / 2))

    def check(self, server: subjects.Server, expected: Sequence[Sequence[float]]) -> None:
        """Compare answers with the loop's. :raises WrongResultError: if they differ by more than rounding."""
        with server.running():
            answers = server.answers()
        for body, wanted in zip(answers, expected):
            largest = max(wanted)
            for index, value in probabilities(server.form, body).items():
                if not abs(value - wanted[index]) <= TOLERANCE * largest or largest < 1e-3:
                    raise WrongResultError(
                        f"{server.name}: class {index} has {value}, without a server {wanted[index]}"
                    )


def probabilities(form: str, body: bytes) -> Dict[int, float]:
    """Probabilities by class, of all classes or the most probable ones, from the body of an answer."""
    if form == "v2":
        values = body[len(body) - 4 * _count(body) :]
        return dict(enumerate(struct.unpack(f"<{len(values) // 4}f", values)))
    answer = json.loads(body)
    classes = answer["images"][0]["predictions"] if form == "form" else answer["classes"]
    return {one["index"]: one["probability"] for one in classes}


def _count(body: bytes) -> int:
    """Values in the binary part of an answer, which its JSON part, a line that it begins with, says."""
    answer, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    return int(answer["outputs"][0]["shape"][1])


def merged(rows: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """One row of several turns: the median of every figure, and the range of the two that count."""
    keys = [key for key, value in rows[0].items() if isinstance(value, (int, float))]
    row: Dict[str, Any] = {key: statistics.median(one[key] for one in rows) for key in keys}
    for key in ("images_per_s", "images_per_cpu_s"):
        row[key + "_range"] = [min(one[key] for one in rows), max(one[key] for one in rows)]
    return dict(row, turns=len(rows))


def record(found: Mapping[str, Any], threads: int, quick: bool) -> Dict[str, Any]:
    versions = {name: metadata.version(name) for name in PACKAGES}
    facts = {"cores": len(timing.available_cpus()), "threads": threads, "os": machine.operating_system()}
    head = machine.short_record("serve", quick, facts, versions)
    how = {"clients": CLIENTS, "clients_batching": MANY, "litserve": LITSERVE, "client_shares_processors": True}
    return dict(head, how=how, **found)
