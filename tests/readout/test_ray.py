"""Read-outs by Ray's actors: bit-equal to one process, in the order of the source, also when an actor is killed."""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import socket
import sys
import time
import types

import pytest

from fastalex import AlexNet, UserError, readout
from fastalex.cli.main import main
from fastalex.readout import ray_data
from fastalex.readout.sources import Source
from tests.readout import killed, stimuli

IMAGES, BATCH = 90, 4
BAD = 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images, one of them none, and a read-out of them by one process with all threads."""
    base = tmp_path_factory.mktemp("ray")
    images = stimuli.write_folder(base / "images", range(IMAGES))
    (images / f"{BAD:06d}.png").write_bytes(b"no image")
    net = AlexNet(weights="digits", device="cpu")
    readout.read_out(net, str(images), str(base / "plain"), ["conv5"], batch=BATCH, dtype="int8")
    return base


class Slow(Source):
    """A folder whose every block takes a while, and is written down when it is begun."""

    def __init__(self, folder, log):
        self.folder, self.log = folder, str(log)
        self.address, self.where = folder.address, folder.where

    def prepare(self, folder=None):
        self.folder.prepare(folder)

    def __len__(self):
        return len(self.folder)

    @property
    def sha256(self):
        return self.folder.sha256

    def read(self, start, stop):
        with open(self.log, "a") as log:
            log.write(f"{start}\n")
        time.sleep(0.2)
        return self.folder.read(start, stop)


def job(folder, out, source=None):
    net = AlexNet(weights="digits", device="cpu", threads=1)
    return readout.Job(net, source or str(folder / "images"), str(out), ["conv5"], batch=BATCH, dtype="int8")


# Without Ray ----------------------------------------------------------------------------------------------------------


class Shuffled(ray_data.Cluster):
    """Actors in this process, whose results arrive in any order; ``change`` is made to each."""

    def __init__(self, monkeypatch, isa=None, change=lambda row: row):
        super().__init__("local")
        self._isa, self._change = isa, change
        monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(get=lambda reference: reference))

    def _results(self, work, source, todo, batch):
        actor = ray_data.Actor([work], source, self._isa or str(ray_data._core.cpu_isa()))
        for start, stop in random.Random(0).sample(todo, len(todo)):
            row = self._change(actor({"start": [start], "stop": [stop]}))
            if row:
                yield {key: value for key, (value,) in row.items()}


def test_rows_have_the_order_of_the_source_whatever_arrives_first(folder, tmp_path, monkeypatch):
    job(folder, tmp_path / "out").run(compute=Shuffled(monkeypatch).blocks)
    assert killed.differences(folder / "plain", tmp_path / "out") == []
    left_out = readout.Results(str(tmp_path / "out")).manifest["left_out"]
    assert list(left_out) == [f"{BAD:06d}.png"]


def test_a_shard_can_be_computed_so(folder, tmp_path, monkeypatch, net):
    for out, compute in (("plain", readout.work.blocks), ("by-actors", Shuffled(monkeypatch).blocks)):
        half = readout.Job(net, str(folder / "images"), str(tmp_path / out), ["conv5"], batch=BATCH, shard="2/2")
        half.run(compute=compute)
    assert (
        killed.differences(
            tmp_path / "plain" / os.path.basename(half.folder), tmp_path / "by-actors" / os.path.basename(half.folder)
        )
        == []
    )


def test_what_is_wrong_in_an_actor_is_one_sentence_here(folder, tmp_path, monkeypatch):
    def refused(sentence, **options):
        with pytest.raises(UserError, match=sentence):
            job(folder, tmp_path / "out").run(compute=Shuffled(monkeypatch, **options).blocks)

    refused("has the instruction set .* and this machine other, whose last bits differ", isa="other")
    refused(
        "Ray ended without the images 0 to 4; use the same command again", change=lambda row: row["start"][0] and row
    )
    monkeypatch.setattr(ray_data, "_MAX_BYTES", 100)
    refused("the results of a batch are .* bytes, too many for Ray; use a smaller one")


def test_a_source_that_an_actor_cannot_read(folder, tmp_path, monkeypatch):
    shards = stimuli.write_tars(tmp_path / "shards", range(12), 6)
    net = AlexNet(weights="digits", device="cpu", threads=1)
    run = readout.Job(net, str(shards), str(tmp_path / "out"), ["conv5"], batch=BATCH)
    os.unlink(shards / "shard-000001.tar")
    with pytest.raises(UserError, match=r"shard-000001\.tar"):
        run.run(compute=Shuffled(monkeypatch).blocks)


def test_ray_that_is_not_installed(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = [
        "readout",
        str(folder / "images"),
        "--layers",
        "conv5",
        "--weights",
        "digits",
        "--out",
        str(tmp_path / "x"),
    ]
    assert main([*words, "--ray", "local"]) == 2
    assert capsys.readouterr().err == "fastalex: --ray needs the package ray: pip install 'fastalex[ray]'\n"


@pytest.mark.parametrize("address", ["", "somewhere", "ray://head:10001", "head:port", "a b:1"])
def test_what_is_no_address(address):
    with pytest.raises(UserError, match="--ray takes local, auto or HOST:PORT, not '"):
        ray_data.Cluster(address)


def test_a_cluster_that_is_not_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # not listening, so that connecting to it is refused
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(UserError, match=f"the Ray cluster '{address}' cannot be reached: Connection refused"):
            ray_data.Cluster(address).__enter__()
    with pytest.raises(UserError, match="cannot be reached: "):
        ray_data.Cluster("127.0.0.1:99999").__enter__()


# With Ray -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    with ray_data.Cluster("local") as made:
        yield made


@pytest.mark.ray
def test_an_actor_killed_in_the_middle_changes_no_bit(folder, tmp_path, cluster):
    victims, before = [], set()

    def report(done):
        if done <= IMAGES:  # the pass that finds the scales
            before.update(cluster.processes)
        elif not victims:
            victims.extend(cluster.processes - before)
            os.kill(int(victims[0].split()[1]), signal.SIGKILL)

    source = Slow(readout.open_source(str(folder / "images")), tmp_path / "log")
    job(folder, tmp_path / "out", source=source).run(report, compute=cluster.blocks)
    assert victims and not os.path.exists(f"/proc/{victims[0].split()[1]}")
    times_read = collections.Counter((tmp_path / "log").read_text().split())
    assert set(times_read) == {str(start) for start in range(0, IMAGES, BATCH)}
    assert (
        min(times_read.values()) == 2 < max(times_read.values())
    )  # passes; what the killed one had begun is done again
    assert killed.differences(folder / "plain", tmp_path / "out") == []


@pytest.mark.ray
def test_the_command_computes_what_one_process_does(folder, tmp_path, capsys):
    words = ["readout", str(folder / "images"), "--layers", "conv5", "--weights", "digits", "--batch", str(BATCH)]
    words += ["--dtype", "int8", "--device", "cpu", "--out", str(tmp_path / "out"), "--ray", "local", "--json"]
    assert main(words) == 2  # for the image that is none
    assert json.loads(capsys.readouterr().out)["rows"] == IMAGES - 1
    assert killed.differences(folder / "plain", tmp_path / "out") == []


@pytest.mark.ray
def test_more_threads_than_a_node_has_cpus(folder, tmp_path, cluster):
    run = job(folder, tmp_path / "out")
    run.work.net.threads = 1000
    with pytest.raises(UserError, match="no node of the Ray cluster has 1000 CPUs; use a smaller --threads"):
        run.run(compute=cluster.blocks)
