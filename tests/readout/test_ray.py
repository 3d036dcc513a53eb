"""Read-outs by Ray's actors: bit-equal to one process, in the order of the source, also when an actor is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import types

import pytest

from fastalex import AlexNet, UserError, readout
from fastalex.cli.main import main
from fastalex.readout import ray_data
from tests.readout import killed, stimuli

IMAGES, BATCH = 90, 4
BAD = 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images, one of them none, and a read-out of them by one process with all threads."""
    base = tmp_path_factory.mktemp("ray")
    images = stimuli.write_folder(base / "images", range(IMAGES))
    (images / f"{BAD:06d}.png").write_bytes(b"no image")
    one_thread_less = AlexNet(weights="digits", device="cpu")
    readout.read_out(one_thread_less, str(images), str(base / "plain"), ["conv5"], batch=BATCH, dtype="int8")
    return base


def job(folder, out, **options):
    net = AlexNet(weights="digits", device="cpu", threads=1)
    return readout.Job(net, str(folder / "images"), str(out), ["conv5"], batch=BATCH, dtype="int8", **options)


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


# With Ray -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    with ray_data.Cluster("local") as made:
        yield made


@pytest.mark.ray
def test_an_actor_killed_in_the_middle_changes_no_bit(folder, tmp_path, cluster):
    victims = []

    def report(done):
        if done >= 3 * IMAGES // 2 and not victims:  # in the second pass, which stores
            victims.extend(process for process in cluster.processes if os.path.exists(f"/proc/{process.split()[1]}"))
            os.kill(int(victims[0].split()[1]), signal.SIGKILL)

    job(folder, tmp_path / "out").run(report, compute=cluster.blocks)
    assert not os.path.exists(f"/proc/{victims[0].split()[1]}")
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
