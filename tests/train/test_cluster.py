"""Training under torchrun on several hosts of which some are killed, in .ci/steps/long_cluster.sh."""

from __future__ import annotations

import shlex

import pytest

pytest.importorskip("torch")

from tests.support import cluster
from tests.support.interrupted_training import SAVED

pytestmark = [pytest.mark.cluster, pytest.mark.peers, pytest.mark.slow]

LIMIT = 1e-10  # of the losses in float64 with another number of processes, as in test_parallel.py
EPOCHS, KILLED = 12, 20
WORDS = ["--epochs", str(EPOCHS), "--save-every", "4"]
LONG = 60  # seconds to wait for a host that comes back


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return cluster.write_shards(tmp_path_factory.mktemp("shards") / "data")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The undisturbed run of two hosts."""
    folder = tmp_path_factory.mktemp("whole")
    with cluster.Cluster(folder / "said", "1:2", last_call=LONG) as hosts:
        both = [hosts.start(number, data, folder / "out", *WORDS) for number in (1, 2)]
        assert [host.ended() for host in both] == [0, 0], both[0].said()
    return folder / "out"


def same(whole, out):
    return [name for name in SAVED if (whole / name).read_bytes() != (out / name).read_bytes()] == []


def closest(whole, out):
    one, other = cluster.losses(whole), cluster.losses(out)
    assert len(one) == len(other) == EPOCHS * cluster.UPDATES
    return max(abs(a - b) for a, b in zip(one, other))


def test_a_killed_host_that_comes_back_changes_nothing(data, whole, tmp_path):
    out = tmp_path / "out"
    with cluster.Cluster(tmp_path / "said", "1:2", last_call=LONG) as hosts:
        first, second = (hosts.start(number, data, out, *WORDS) for number in (1, 2))
        hosts.wait_for(KILLED, out)
        second.kill()
        second = hosts.start(2, data, out, *WORDS)
        assert (first.ended(), second.ended()) == (0, 0), first.said()
        print(first.said())
    assert same(whole, out)


def test_a_killed_host_that_stays_away_leaves_its_images_to_the_others(data, whole, tmp_path):
    out = tmp_path / "out"
    with cluster.Cluster(tmp_path / "said", "1:4", last_call=8) as hosts:
        first, second = (hosts.start(number, data, out, *WORDS) for number in (1, 2))
        hosts.wait_for(KILLED, out)
        second.kill()
        assert first.ended() == 0, first.said()
        assert "device cpu" in first.said() or "over 1 processes" in first.said()
    assert closest(whole, out) <= LIMIT


def test_three_of_four_hosts_cannot_split_the_batch(data, tmp_path):
    out = tmp_path / "out"
    with cluster.Cluster(tmp_path / "said", "1:4", restarts=2, last_call=20) as hosts:
        four = [hosts.start(number, data, out, *WORDS) for number in (1, 2, 3, 4)]
        hosts.wait_for(KILLED, out)
        four[2].kill()
        assert [four[number].ended() for number in (0, 1, 3)] == [1, 1, 1]
        refused = [line for line in hosts.sentences() if "cannot be split" in line]
    assert len(refused) == 1 and "a batch of 8 cannot be split equally over 3 processes" in refused[0]


def test_without_the_host_of_the_rendezvous_the_line_that_resumes_is_said(data, whole, tmp_path):
    out = tmp_path / "out"
    with cluster.Cluster(tmp_path / "said", "1:2", last_call=LONG) as hosts:
        first, second = (hosts.start(number, data, out, *WORDS) for number in (1, 2))
        hosts.wait_for(KILLED, out)
        first.kill()
        assert second.ended() == 1
        (said,) = second.sentences()
    line = shlex.split(said.partition("go on with: ")[2])
    assert line[0] == "torchrun" and "--nnodes=1:2" in line and line[-1] == "--resume"
    with cluster.Cluster(tmp_path / "again", "1:2", last_call=LONG) as hosts:
        both = [hosts.start(number, data, out, *WORDS, "--resume") for number in (1, 2)]
        assert [host.ended() for host in both] == [0, 0], both[0].said()
    assert same(whole, out)
