"""Training on two "hosts" that are processes of this machine, forked from one that has loaded PyTorch.

``python -m tests.support.forked_hosts FOLDER`` goes through :data:`CASES` and prints, as JSON, how each ended:
``codes`` of the hosts, and ``said``, the lines of each. ``tests/support/cluster.py`` has hosts under torchrun.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from fastalex.cli.main import main as command_line
from fastalex.train import elastic, loop
from tests.support import cluster
from tests.support.interrupted_training import ended, forked, warm_up

EPOCHS, KILLED = 2, 9  # a step of the second epoch
WORDS = [*cluster.NETWORK.split(), *cluster.QUIET.split(), "--epochs", str(EPOCHS), "--save-every", "2"]


class Hosts:
    """Two hosts that run ``fastalex train`` with the same words.

    ``second`` is the data of the second one, ``own`` are the last words of each, ``before`` a function that each calls.
    """

    def __init__(self, folder):
        self.folder = folder

    def run(self, name, data, *words, second=None, own=((), ()), before=(None, None), world=2, wait=True):
        port = str(cluster.free_port())
        place = self.folder / "said" / name
        outs = [self.folder / name] * 2
        processes = []
        for rank in range(world):
            home = place / f"agent{rank}" / "attempt_0" / "0"
            home.mkdir(parents=True, exist_ok=True)
            variables = {"RANK": rank, "GROUP_RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": world, "MASTER_PORT": port}
            variables.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo", TORCHELASTIC_RUN_ID="x")
            variables["TORCHELASTIC_ERROR_FILE"] = home / "error.json"
            place_of = second if rank and second else data
            line = ["train", str(place_of), *WORDS, "--out", str(outs[rank]), *words, *own[rank]]
            processes.append(forked(host, variables, line, place / f"{rank}.txt", before[rank]))
        if not wait:
            return processes
        codes = [ended(process) for process in processes]
        return {"codes": codes, "said": [lines(place / f"{rank}.txt") for rank in range(world)]}


def host(variables, line, said, before):
    os.environ.update({name: str(value) for name, value in variables.items()})
    stream = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    if before is not None:
        before()
    code = 2 if elastic.noted(elastic.MISTAKE) else command_line(line, elastic.say)
    sys.stdout.flush()
    os._exit(code)


def lines(path):
    return [line for line in path.read_text().splitlines() if line.startswith(("fastalex: ", "Traceback"))]


# What happens to a host


def sends_itself(number):
    def before():
        add = loop.Sums.add
        steps = [0]

        def counted(self, *arguments):
            steps[0] += 1
            if steps[0] == KILLED:
                os.kill(os.getpid(), number)
            add(self, *arguments)

        loop.Sums.add = counted

    return before


def disk_full():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


def clock_ahead():
    now = time.time
    time.time = lambda: now() + 60


# Cases


def cases(hosts, data, other, corrupt):
    first, second = hosts.folder / "own0", hosts.folder / "own1"
    apart = (("--out", str(first)), ("--out", str(second)))
    yield "whole", hosts.run("whole", data)
    there = ("--out", str(hosts.folder / "whole"))
    yield "exists", hosts.run("exists", data, *there)
    yield "recipe", hosts.run("recipe", data, "--resume", "--lr", "0.01", *there)
    yield "killed", hosts.run("killed", data, own=apart, before=(None, sends_itself(signal.SIGKILL)))
    (first / "checkpoint.pt").unlink()  # another machine in its place
    yield "again", hosts.run("killed", data, own=apart)
    yield "half", hosts.run("half", data, before=(None, sends_itself(signal.SIGKILL)))
    yield "alone", hosts.run("half", data, "--parallel", "data", world=1)
    yield "hangs", hanging(hosts, data)
    yield "labels", hosts.run("labels", data, second=other)
    yield "corrupt", hosts.run("corrupt", data, second=corrupt)
    yield "disk", hosts.run("disk", data, own=apart_in(hosts, "disk"), before=(None, disk_full))
    yield "clocks", hosts.run("clocks", data, before=(None, clock_ahead))
    yield "batch", hosts.run("batch", data, "--batch", "9")
    yield "option", hosts.run("option", data, "--lr", "0")
    yield "started again", hosts.run("option", data, "--lr", "0")
    yield "commands", hosts.run("commands", data, own=((), ("--lr", "0.01")))
    yield "one mistake", hosts.run("unknown", data, own=((), ("--lr", "0")))
    yield "address", hosts.run("address", in_memory(data))


def apart_in(hosts, name):
    return tuple(("--out", str(hosts.folder / f"{name}{rank}")) for rank in (0, 1))


def hanging(hosts, data):
    before = (None, sends_itself(signal.SIGSTOP))
    first, second = hosts.run("hangs", data, "--timeout", "2", before=before, wait=False)
    codes = [ended(first)]
    os.kill(second, signal.SIGKILL)
    return {"codes": [*codes, ended(second)], "said": [lines(hosts.folder / "said" / "hangs" / "0.txt"), []]}


def in_memory(data):
    """The shards at an address, which the forked processes inherit."""
    import fsspec

    fsspec.filesystem("memory").put(str(data), "/shards", recursive=True)
    return "memory://shards"


def main(folder):
    data = cluster.write_shards(folder / "data")
    other, corrupt = folder / "other", folder / "corrupt"
    for copy in (other, corrupt):
        shutil.copytree(data, copy)
    change(other / "train" / "001.tar", b"1", b"2")
    with open(corrupt / "train" / "002.tar", "r+b") as stream:
        stream.truncate(9000)
    warm_up()
    torch.set_num_threads(1)
    hosts = Hosts(folder)
    report = dict(cases(hosts, data, other, corrupt))
    for name in ("whole", "own0", "own1", "half", "address"):
        report[name] = dict(report.get(name, {}), losses=cluster.losses(folder / name))
    print(json.dumps(report))


def change(path, old, new):
    """Change the first label ``old`` of a shard."""
    content = bytearray(path.read_bytes())
    place = content.index(b".cls")
    while content[(block := place // 512 * 512 + 512) : block + 1] != old:
        place = content.index(b".cls", place + 1)
    content[block : block + 1] = new
    path.write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
