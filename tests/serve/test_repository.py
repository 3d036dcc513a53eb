"""The models of a server: what the command line says of them, loading and unloading, and what cannot be loaded."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref

import numpy as np
import pytest

from fastalex import AlexNet, UserError
from fastalex.serve import memory, served
from fastalex.serve.errors import ServiceError
from fastalex.serve.metrics import Metrics
from fastalex.serve.repository import LOADING, READY, UNAVAILABLE, UNLOADING, Repository
from fastalex.serve.settings import Settings
from fastalex.serve.specs import LpipsSpec, ModelSpec
from fastalex.weights import initial
from tests.support import small_net

FILE = small_net.DIGITS[0].read_bytes()


@pytest.fixture
def made():
    """A function that makes a repository, which is closed afterwards."""
    repositories = []

    def make(*specs, **options):
        settings = Settings(models=tuple(map(ModelSpec.parse, specs)), **options)
        repositories.append(Repository(settings, Metrics()))
        return repositories[-1]

    yield make
    for repository in repositories:
        repository.close(20)


def state(repository, name="digits"):
    return next(row for row in repository.index() if row.name == name).state


def status(call, *arguments):
    with pytest.raises(ServiceError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return caught.value.status


def save(path, seed):
    """Write random weights of the digits' network, and return the net."""
    row = AlexNet(weights="digits", device="cpu").variant
    net = AlexNet(row, weights=initial.random_weights(row, seed=seed), device="cpu")
    net.save(path)
    return net


# What the command line says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("digits", ModelSpec("digits", "digits")),
        ("a=/x/y.npz", ModelSpec("a", "/x/y.npz")),
        ("a=b=c,d.npz,precision=int8", ModelSpec("a", "b=c,d.npz", precision="int8")),
        ("a=b,fc-weights=int4,threads=3", ModelSpec("a", "b", fc_weights="int4", threads=3)),
        ("a=b,labels=c=d.txt", ModelSpec("a", "b", labels="c=d.txt")),
        ("owt,device=cuda:1,profile=caffe", ModelSpec("owt", "owt", device="cuda:1", profile="caffe")),
    ],
)
def test_a_model_of_the_command_line(text, spec):
    assert ModelSpec.parse(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=x",
        "a=",
        "a b=x",
        "../a=x",
        "weights/net.npz",
        "a" * 65 + "=x",
        "a=x,speed=9",
        "a=x,threads=0",
        "a=x,threads=\u00b2",
    ],
)
def test_a_wrong_model_of_the_command_line(text):
    with pytest.raises(UserError) as caught:
        ModelSpec.parse(text)
    assert "\n" not in str(caught.value)


def test_a_model_has_the_labels_of_its_file(made, tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(f"digit {k}" for k in range(10)))
    repository = made(f"digits,device=cpu,labels={file}")
    repository.start(wait=True)
    model = repository.get("digits")
    assert model.labels == model.net.labels == [f"digit {k}" for k in range(10)]
    file.write_text("one")
    with pytest.raises(ServiceError, match="has 1 labels, but the network has 10 classes") as caught:
        repository.load("digits")
    assert caught.value.status == 503 and repository.get("digits") is model


def test_a_distance_of_the_command_line():
    assert LpipsSpec.parse("torchvision,heads=a.pth") == LpipsSpec("torchvision", "a.pth")
    for text in ("", ",heads=a", "x,profile=caffe"):
        with pytest.raises(UserError):
            LpipsSpec.parse(text)


def test_settings_that_cannot_be():
    with pytest.raises(UserError, match="two models are called 'digits'"):
        Settings(models=(ModelSpec.parse("digits"), ModelSpec.parse("digits=x")))
    for wrong in ({"max_batch": 0}, {"max_delay_us": -1}, {"queue_total": 0}):
        with pytest.raises(UserError):
            Settings(**wrong)


# Loading and unloading -----------------------------------------------------------------------------------------------


def test_what_cannot_be_loaded_says_why_and_the_others_serve(made, tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    (tmp_path / "cut.npz").write_bytes(b"PK\3\4" + bytes(30))
    with open(tmp_path / "huge.safetensors", "wb") as stream:
        os.truncate(stream.fileno(), 1 << 42)  # a hole of 4 TB
    repository = made(
        "missing=/no/such/file.npz",
        f"damaged={tmp_path / 'damaged.safetensors'}",
        f"cut={tmp_path / 'cut.npz'}",
        f"folder={tmp_path}",
        f"huge={tmp_path / 'huge.safetensors'}",
        "variant=digits,variant=nothing",
        "device=digits,device=toaster",
        "precision=digits,precision=int8",
        "profile=digits,profile=nothing",
        "digits",
    )
    repository.start(wait=True)
    rows = {row.name: row for row in repository.index()}
    assert rows.pop("digits").state == READY
    for name, row in rows.items():
        assert row.state == UNAVAILABLE and row.reason and "\n" not in row.reason
        assert status(repository.get, name) == status(repository.load, name) == 503
    assert "MB are free" in rows["huge"].reason
    assert not repository.ready
    assert status(repository.get, "nothing") == status(repository.load, "x" * 999) == 404
    assert status(repository.get, "digits", "2") == 404
    assert repository.get("digits", "1").name == "digits"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("no\nidea")])
def test_any_error_of_loading_leaves_the_server_up(made, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    repository = made("digits")
    with monkeypatch.context() as patch:
        patch.setattr(served, "AlexNet", fail)
        repository.start(wait=True)
        assert status(repository.get, "digits") == 503
        assert all(row.reason.isprintable() for row in repository.index())
    repository.load("digits")
    assert state(repository) == READY and repository.ready


def test_states_while_a_model_is_loaded_and_unloaded(made, monkeypatch):
    repository, begun, go = made("digits"), threading.Event(), threading.Event()
    make = AlexNet

    def slow(*arguments, **options):
        begun.set()
        assert go.wait(20)
        return make(*arguments, **options)

    monkeypatch.setattr(served, "AlexNet", slow)
    assert state(repository) == UNAVAILABLE
    repository.start()
    assert begun.wait(20) and state(repository) == LOADING
    with pytest.raises(ServiceError) as caught:
        repository.get("digits")
    assert caught.value.status == 503 and caught.value.retry_after
    go.set()
    while state(repository) == LOADING:
        time.sleep(0.005)
    assert state(repository) == READY
    repository.unload("digits")
    assert state(repository) == UNAVAILABLE
    assert status(repository.get, "digits") == status(repository.unload, "digits") == 503


def test_unloading_waits_for_the_calls_that_were_accepted(made):
    repository = made("digits")
    repository.start(wait=True)
    model = repository.get("digits")
    begun, go, compute = threading.Event(), threading.Event(), model._pipeline._compute

    def held(parts):
        begun.set()
        assert go.wait(20)
        return compute(parts)

    model._pipeline._compute = held

    async def scenario():
        loop = asyncio.get_running_loop()
        tasks = [asyncio.ensure_future(model.infer_images([FILE], client=str(i))) for i in range(9)]
        await loop.run_in_executor(None, begun.wait, 20)
        unloading = loop.run_in_executor(None, repository.unload, "digits")
        while state(repository) != UNLOADING:
            await asyncio.sleep(0.005)
        assert status(repository.get, "digits") == 503
        while not model._pipeline._batcher._closing:
            await asyncio.sleep(0.005)
        with pytest.raises(ServiceError, match="unloaded"):
            await model.infer_images([FILE])
        go.set()
        assert len(await asyncio.gather(*tasks)) == 9
        await unloading

    asyncio.run(scenario())


def test_a_model_is_replaced_while_requests_run_and_none_is_lost(made, tmp_path):
    path = tmp_path / "net.npz"
    nets = [save(path, seed=1)]
    repository = made(f"net={path}")
    repository.start(wait=True)
    x = nets[0].preprocess(FILE)
    stale = repository.get("net")
    nets.append(save(path, seed=2))
    expected = [net(x) for net in nets]

    async def scenario():
        loop, seen = asyncio.get_running_loop(), []

        async def client(number):
            while True:
                last = replaced.done()
                answer = (await repository.get("net").infer(x, ["logits"], str(number)))["logits"]
                which = [np.array_equal(answer, logits) for logits in expected]
                assert any(which)
                seen.append(which.index(True))
                if last:
                    return which.index(True)

        replaced = loop.run_in_executor(None, repository.load, "net")
        assert await asyncio.gather(*(client(number) for number in range(6))) == [1] * 6
        # who still has the model of before gets the answer of the new one
        late = await asyncio.gather(stale.infer(x, ["logits"]), stale.infer_images([FILE], ["logits"]))
        for answer in late:
            np.testing.assert_array_equal(answer["logits"], expected[1])

    asyncio.run(scenario())


def test_a_model_that_cannot_be_read_again_keeps_serving(made, tmp_path):
    path = tmp_path / "net.npz"
    net = save(path, seed=1)
    repository = made(f"net={path}")
    repository.start(wait=True)
    path.write_bytes(b"no weights")
    assert status(repository.load, "net") == 503
    x = net.preprocess(FILE)
    answer = asyncio.run(repository.get("net").infer(x))
    np.testing.assert_array_equal(answer["logits"], net(x))
    assert state(repository, "net") == READY


def test_an_unloaded_model_frees_its_memory(made):
    repository = made("digits")
    repository.start(wait=True)
    asyncio.run(repository.get("digits").infer_images([FILE] * 3))
    net = weakref.ref(repository.get("digits").net)
    repository.unload("digits")
    gc.collect()
    assert net() is None


def test_a_closed_repository_loads_nothing(made):
    repository = made("digits")
    repository.start(wait=True)
    repository.close()
    assert status(repository.load, "digits") == 503
    assert state(repository) == UNAVAILABLE and not repository.ready


# The memory ----------------------------------------------------------------------------------------------------------


def test_closing_does_not_wait_for_ever_for_a_model_that_is_being_loaded(made, monkeypatch):
    go, begun = threading.Event(), threading.Event()

    def slow(*_):
        begun.set()
        go.wait(10)
        raise UserError("late")

    monkeypatch.setattr("fastalex.serve.repository.Served", slow)
    repository = made("digits", "other=digits")
    repository.start()
    assert begun.wait(10)
    began = time.monotonic()
    repository.close(0.1)
    assert time.monotonic() - began < 5
    go.set()


def test_the_memory_of_a_container_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUP", str(tmp_path))
    monkeypatch.setattr(memory, "_MEMINFO", str(tmp_path / "meminfo"))
    assert memory.available() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert memory.available() == 4000 << 10
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    (tmp_path / "memory.stat").write_text("inactive_anon 7\ninactive_file 500000\n")
    assert memory.available() == 4000 << 10
    (tmp_path / "memory.max").write_text("3000000\n")
    assert memory.available() == 1500000
    (tmp_path / "weights").write_bytes(bytes(1500001))
    with pytest.raises(UserError, match="MB are free"):
        memory.check(str(tmp_path / "weights"))
