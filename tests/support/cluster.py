"""Training on several "hosts": agents of torchrun at 127.0.0.1, 127.0.0.2, ..., which can be killed with all they run.

The images are in tar shards. The network is small, and so are the times of torchrun: a host that joins is waited for
for seconds, and one without a sign of life for three of them is dead.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fastalex.train import logs

ROOT = Path(__file__).resolve().parents[2]
CLASSES, BATCH, SHARDS = 3, 8, 3
IMAGES = {"train": 46, "val": 8}  # six batches, of which the last is not whole
UPDATES = 6
# With everything that a run computes before it trains, or decides while it does: mean image, colors, plateaus.
NETWORK = "--variant alexnet-digits --input-size 67 --init he --batch 8 --lr 0.005 --dtype float64"
QUIET = "--workers 0 --device cpu --no-tensorboard"
TIMES = "keep_alive_interval=1,keep_alive_max_attempt=3"
LIMIT_S = 120


def write_shards(folder, seed=0):
    """Noise, a little brighter for each class, in ``folder/train`` and ``folder/val``; one image cannot be read."""
    generator = np.random.default_rng(seed)
    for part, count in IMAGES.items():
        (folder / part).mkdir(parents=True)
        rows = [(number, number % CLASSES) for number in range(count)]
        for shard in range(SHARDS):
            with tarfile.open(folder / part / f"{shard:03}.tar", "w") as archive:
                for number, label in rows[shard::SHARDS]:
                    add(archive, f"{number:04}.png", b"no image" if number == 5 else noise(generator, label))
                    add(archive, f"{number:04}.cls", b"%d" % label)
    return folder


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def noise(generator, label):
    stream = io.BytesIO()
    Image.fromarray(generator.integers(60 * label, 60 * label + 100, (20, 20, 3)).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Host:
    """An agent of torchrun, as it runs on one host, and what it and its processes say."""

    def __init__(self, cluster, number, data, out, words):
        self.number, self.said_at = number, cluster.folder / f"host{number}-{time.monotonic_ns()}.txt"
        is_first = number == 1
        times = f"{TIMES},last_call_timeout={cluster.last_call},is_host={int(is_first)}"
        command = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={cluster.nnodes}", "--nproc-per-node=1"]
        command += [f"--max-restarts={cluster.restarts}", "--rdzv-backend=c10d", f"--rdzv-conf={times}"]
        command += [f"--rdzv-endpoint=127.0.0.1:{cluster.port}", f"--local-addr=127.0.0.{number}"]
        command += ["--monitor-interval=0.1", "-m", "fastalex.train", str(data), *NETWORK.split(), *QUIET.split()]
        environment = dict(os.environ, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")
        environment.update(CLUSTER_HOST=str(number), TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
        with open(self.said_at, "wb") as stream:
            self.agent = subprocess.Popen(
                [*command, *words, "--out", str(out)],
                stdout=stream,
                stderr=stream,
                env=environment,
                cwd=ROOT,
            )

    def said(self):
        return self.said_at.read_text(encoding="utf-8", errors="replace")

    def sentences(self):
        """What fastalex said, without the log of torchrun."""
        return [line for line in self.said().splitlines() if line.startswith("fastalex: ")]

    def kill(self):
        """SIGKILL to the agent and its processes, as when the host loses its power."""
        for number in family(self.agent.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self.agent.wait()

    def ended(self):
        return self.agent.wait(LIMIT_S)


def family(number):
    """A process and all that it started, each stopped before it can start more."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGSTOP)
    try:
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        children = []
    return [number, *(one for child in children for one in family(int(child)))]


class Cluster:
    """Hosts that train together.

    :param nnodes: as for torchrun.
    :param last_call: seconds that torchrun waits for more hosts than the fewest.
    """

    def __init__(self, folder, nnodes="1:4", restarts=5, last_call=3):
        self.folder, self.nnodes, self.restarts, self.last_call = folder, nnodes, restarts, last_call
        self.port, self.hosts = free_port(), []
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in self.hosts:
            host.kill()

    def start(self, number, data, out, *words):
        host = Host(self, number, data, out, words)
        self.hosts.append(host)
        return host

    def sentences(self):
        return [line for host in self.hosts for line in host.sentences()]

    def wait_for(self, steps, out):
        """Wait until a run has done ``steps`` steps."""
        began = time.monotonic()
        while done(out) < steps:
            assert time.monotonic() - began < LIMIT_S, [host.said() for host in self.hosts]
            time.sleep(0.002)


def done(out):
    """The number of steps of a run so far."""
    return len(logs.read(str(out / "steps.csv")))


def losses(out):
    return [float(row["loss"]) for row in logs.read(str(out / "steps.csv"))]
