"""Training on two hosts: what differs between them, what ends one of them, and how the other goes on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("fsspec")

from fastalex.errors import UserError
from fastalex.train import shards
from tests.support import cluster, forked_hosts

pytestmark = [pytest.mark.peers, pytest.mark.slow]

LIMIT = 1e-10  # of the losses in float64 with another number of processes, as in test_parallel.py


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """How each of the cases of tests/support/forked_hosts.py ended."""
    words = [sys.executable, "-m", "tests.support.forked_hosts", str(tmp_path_factory.mktemp("hosts"))]
    done = subprocess.run(words, env=dict(os.environ, OMP_NUM_THREADS="1"), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("exists", "has a checkpoint: add --resume"),
        ("recipe", "was made with another recipe"),
        ("labels", "the training shard 001.tar on host 1 .* is not that on host 0"),
        ("corrupt", r"on host 1 .*002\.tar cannot be read: it is truncated or damaged after '\d+\.png'; copy it"),
        ("disk", r"on host 1 .*checkpoint\.pt cannot be written: File too large"),
        ("clocks", "the clock of host 1 .* is 60 s ahead of that of host 0"),
        ("batch", "a batch of 9 cannot be split equally over 2 processes .* or 3 processes"),
        ("option", "lr must be above 0"),
        ("commands", r"the lr of the recipe on host 1 .* \(0.01, not 0.005\)"),
        ("one mistake", "on host 1 .*: lr must be above 0"),
    ],
)
def test_a_mistake_is_one_sentence_of_the_first_process(report, case, sentence):
    assert report[case]["codes"] == [2, 2]
    (said,), silent = report[case]["said"]
    assert re.search(sentence, said) and silent == []


def test_processes_that_torchrun_starts_again_after_a_mistake_end_without_a_word(report):
    assert report["started again"] == {"codes": [2, 2], "said": [[], []]}


def test_a_host_that_comes_back_changes_nothing_not_even_on_an_empty_disk(report):
    """The checkpoint comes from the other host; the losses are those of the undisturbed run, bit for bit."""
    assert report["killed"]["codes"] == [1, -9] and report["again"]["codes"] == [0, 0]
    whole = report["whole"]["losses"]
    assert len(whole) == forked_hosts.EPOCHS * cluster.UPDATES
    assert report["own0"]["losses"] == report["own1"]["losses"] == whole
    (said,), _ = report["killed"]["said"]
    assert f"another process is gone; the checkpoint is of step {forked_hosts.KILLED - 1}; " in said
    assert said.endswith("--resume")


def test_the_host_that_is_left_goes_on_alone(report):
    """With the images of both, so that the losses differ by rounding alone."""
    assert report["half"]["codes"] == [1, -9] and report["alone"]["codes"] == [0]
    pairs = list(zip(report["half"]["losses"], report["whole"]["losses"]))
    assert len(pairs) == forked_hosts.EPOCHS * cluster.UPDATES
    assert max(abs(one - other) for one, other in pairs) <= LIMIT


def test_a_host_that_does_not_answer_is_lost_after_the_timeout(report):
    assert report["hangs"]["codes"] == [1, -9]
    assert "another process did not answer in time" in report["hangs"]["said"][0][0]


def test_shards_at_an_address_train_as_those_of_a_folder(report):
    assert report["address"]["codes"] == [0, 0]
    assert report["address"]["losses"] == report["whole"]["losses"]


# Shards ---------------------------------------------------------------------------------------------------------------


def damaged(folder, change):
    cluster.write_shards(folder)
    path = folder / "train" / "000.tar"
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return str(path)


def test_a_shard_with_garbage_for_a_header_is_not_shorter(tmp_path):
    """tarfile takes it for the end."""

    def change(content):
        place = content.index(b"0009.png")
        content[place : place + 300] = b"x" * 300

    with pytest.raises(UserError, match=r"000\.tar cannot be read: .*damaged after '0006\.cls'; copy it again"):
        shards.read(damaged(tmp_path, change))


def test_a_label_that_is_no_number_is_named(tmp_path):
    def change(content):
        place = content.index(b"0009.cls") + 512
        content[place : place + 1] = b"?"

    with pytest.raises(UserError, match=r"'0009\.cls' in .*000\.tar has no class number, but b'\?'"):
        shards.read(damaged(tmp_path, change))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("nothing://x", "'nothing://x.*' is no address that can be read"),
        ("memory://nowhere", "there is nothing at 'memory://nowhere'"),
        ("memory://nowhere/*.tar", "there are no .tar shards"),
    ],
)
def test_an_address_that_cannot_be_read_is_named(address, sentence):
    with pytest.raises(UserError, match=sentence):
        shards.find(address)
