"""Runs that are killed, told to end, or diverge; and how they go on."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

from fastalex import UserError, variants, weights
from fastalex.cli.main import main

torch = pytest.importorskip("torch")

from fastalex.train import checkpoint, logs, loop, recipes  # noqa: E402
from fastalex.train.settings import Settings  # noqa: E402
from tests.support import interrupted_training as interrupted  # noqa: E402

pytestmark = pytest.mark.peers

UPDATES = 6  # an epoch: 43 images
OPTIONS = "--variant alexnet-digits --input-size 67 --init he --batch 8 --epochs 3 --lr 0.005 --workers 0 --device cpu"
OPTIONS = [*OPTIONS.split(), "--no-tensorboard"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(logs, "draw", lambda *_: None)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def harmless():
    """A fault of the code must not end the tests."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise") / "images"
    interrupted.draw_images(folder)
    return folder


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "draw", lambda *_: None)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        assert main(["train", str(images), *OPTIONS, "--out", str(out), "--json"]) == 0
        torch.set_num_threads(threads)
    assert len(logs.read(str(out / "steps.csv"))) == 3 * UPDATES
    return out


# Killed


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_as_if_nothing_had_been(request, tmp_path):
    """SIGKILL: losses, metrics and weights are those of the unbroken run, bit for bit. SIGTERM to a process with its
    workers, and to one of two processes: a checkpoint of the step, and the same end."""
    kills = request.config.getoption("--kills")
    words = [sys.executable, "-m", "tests.support.interrupted_training", str(tmp_path), str(kills), "7"]
    done = subprocess.run(words, env=dict(os.environ, OMP_NUM_THREADS="1"), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    report = json.loads(done.stdout)
    print(report)
    assert report["kills"] == kills and report["different"] == []
    assert {"group", "data"} <= set(report["told"])
    for kind, told in report["told"].items():
        assert told["codes"] == ([143, 0] if kind == "group" else [0, 0, 143, 143, 0, 0]), kind
        assert told["different"] == [] and told["step"] >= interrupted.STEP, kind


@pytest.mark.parametrize(("epoch", "iterations"), [(2, None), (3, None), (3, 3 * UPDATES)])
def test_a_run_that_ended_before_the_validation_of_an_epoch_goes_on(images, tmp_path, monkeypatch, epoch, iterations):
    """All updates of the epoch are in the checkpoint of --save-every."""
    recipe = dataclasses.replace(interrupted.RECIPE, epochs=3, iterations=iterations)
    validate, calls = loop.Run.validate, []

    class KilledError(Exception):
        pass

    def killed(self):
        calls.append(1)
        if len(calls) == epoch:
            raise KilledError
        return validate(self)

    def train(out, resume=False):
        settings = Settings(
            str(images), str(out), workers=0, device="cpu", tensorboard=False, save_every=UPDATES, resume=resume
        )
        return loop.Run(settings, recipe, interrupted.ROW).run()

    train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "validate", killed)
        with pytest.raises(KilledError):
            train(tmp_path / "broken")
    assert checkpoint.load(str(tmp_path / "broken" / "checkpoint.pt"))["done"] == UPDATES
    facts = train(tmp_path / "broken", resume=True)
    assert (facts["epochs"], facts["steps"]) == (3, 3 * UPDATES)
    assert interrupted.differences(tmp_path / "whole", tmp_path / "broken") == []


# Told to end


@pytest.mark.parametrize(
    ("number", "step", "where"),
    [
        (signal.SIGINT, 8, "update"),
        (signal.SIGTERM, 2 * UPDATES, "update"),  # the last of an epoch
        (signal.SIGHUP, 2 * UPDATES, "validation"),
    ],
)
def test_a_signal_saves_the_step_and_says_how_to_go_on(
    images, whole, tmp_path, monkeypatch, capsys, number, step, where
):
    add, scores = loop.Sums.add, loop._scores
    steps = [0]

    def counted(self, *arguments):
        steps[0] += 1
        if steps[0] == step and where == "update":
            os.kill(os.getpid(), number)
        add(self, *arguments)

    def scored(*arguments):
        if steps[0] == step and where == "validation":
            os.kill(os.getpid(), number)
        return scores(*arguments)

    out = tmp_path / "it's out"
    with monkeypatch.context() as patch:
        patch.setattr(loop.Sums, "add", counted)
        patch.setattr(loop, "_scores", scored)
        assert main(["train", str(images), *OPTIONS, "--out", str(out)]) == 128 + number
    said = capsys.readouterr().err
    assert f"fastalex: stopped; the checkpoint is of step {step}; go on with: fastalex train " in said
    assert said.count("\n") == 1
    line = shlex.split(said.partition("go on with: ")[2])
    assert line[2:] == [str(images), *OPTIONS, "--out", str(out), "--resume"]
    assert main(line[1:]) == 0
    assert interrupted.differences(whole, out) == []


def test_before_the_first_step_nothing_is_saved(images, tmp_path, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.initial, "arrays", stopped)
    assert main(["train", str(images), *OPTIONS, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "fastalex: stopped before the first checkpoint; nothing is saved\n"


@pytest.mark.parametrize(
    ("module", "function", "known"),
    [(checkpoint, "load", ""), (loop.statistics, "of_training_set", "the checkpoint is of step 18; ")],
)
def test_before_a_resumed_run_trains_its_checkpoint_is_there(
    images, whole, monkeypatch, capsys, module, function, known
):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, function, stopped)
    assert main(["train", str(images), *OPTIONS, "--out", str(whole), "--resume"]) == 130
    assert f"fastalex: stopped; {known}go on with: fastalex train " in capsys.readouterr().err


# Diverged


def test_an_epoch_whose_last_update_diverges_writes_no_weights(images, tmp_path, capsys):
    """Its loss is that of the update before; with one update per epoch, it is the first one's."""
    options = [*OPTIONS, "--batch", "43", "--lr", "1e30", "--out", str(tmp_path / "out")]
    assert main(["train", str(images), *options]) == 2
    said = capsys.readouterr().err
    assert "not finite at step 1; start a new run with a smaller --lr" in said and said.count("\n") == 1
    assert not {"best.safetensors", "last.safetensors", "checkpoint.pt"} & set(os.listdir(tmp_path / "out"))


def test_divergence_leaves_the_files_of_the_epoch_before(images, tmp_path):
    """Three rates jump in the second epoch. The checkpoint stays good, and the sentence says what to do."""
    recipe = recipes.get("paper", init="he", batch=43, epochs=3, lr=0.005)
    recipe = dataclasses.replace(recipe, layer_lr=tuple((name, 1, 1e30) for name in ("fc6", "fc7", "fc8")))
    row = variants.get("alexnet-digits", input_size=67)
    settings = Settings(str(images), str(tmp_path), workers=0, device="cpu", tensorboard=False, quiet=True)
    best = tmp_path / "best.safetensors"
    for resume in (False, True):
        with pytest.raises(UserError, match="validation loss is not finite at step 2; start a new run") as found:
            loop.Run(dataclasses.replace(settings, resume=resume), recipe, row).run()
        assert str(found.value).endswith(f"with a smaller --lr, for example with --finetune {best}")
        assert checkpoint.load(str(tmp_path / "checkpoint.pt"))["step"] == 1
        for path in (best, tmp_path / "last.safetensors"):
            assert all(np.isfinite(array).all() for array in weights.load(path).arrays.values())
        assert [row["epoch"] for row in logs.read(str(tmp_path / "epochs.csv"))] == ["0"]


def test_a_checkpoint_never_holds_what_is_not_finite(images, tmp_path, monkeypatch):
    """Whose loss was still finite."""
    settings = Settings(
        str(images), str(tmp_path), workers=0, device="cpu", tensorboard=False, quiet=True, save_every=1
    )
    run = loop.Run(settings, interrupted.RECIPE, interrupted.ROW)
    update = run._update

    def spoiled(*arguments):
        update(*arguments)
        if run.step == 3:
            next(iter(run.scheme.owned())).tensor.data[0] = np.inf

    monkeypatch.setattr(run, "_update", spoiled)
    with pytest.raises(UserError, match="the weights or their updates are not finite at step 3; start a new run"):
        run.run()
    assert checkpoint.load(str(tmp_path / "checkpoint.pt"))["step"] == 2


@pytest.mark.parametrize("spoils", ["weights", "momenta"])
def test_an_epoch_with_finite_losses_writes_nothing_that_is_not_finite(images, tmp_path, monkeypatch, spoils):
    """The ReLU after a bias of -inf gives 0, and the velocity is not used before the next update."""
    settings = Settings(str(images), str(tmp_path), workers=0, device="cpu", tensorboard=False, quiet=True)
    run = loop.Run(settings, interrupted.RECIPE, interrupted.ROW)
    update, validate, losses = run._update, run.validate, []

    def spoiled(*arguments):
        update(*arguments)
        if run.step == 2 * UPDATES:
            bias = next(own.tensor for own in run.scheme.owned() if own.name.endswith(".bias"))
            where = bias.data if spoils == "weights" else run.optimizer.state[bias]["momentum_buffer"]
            where[0] = -np.inf

    def validated():
        scores = validate()
        losses.append(scores["val_loss"])
        return scores

    monkeypatch.setattr(run, "_update", spoiled)
    monkeypatch.setattr(run, "validate", validated)
    with pytest.raises(UserError, match="the weights or their updates are not finite at step 12; start a new run"):
        run.run()
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert checkpoint.load(str(tmp_path / "checkpoint.pt"))["step"] == UPDATES
    assert [row["epoch"] for row in logs.read(str(tmp_path / "epochs.csv"))] == ["0"]
    for name in ("best", "last"):
        found = weights.load(tmp_path / f"{name}.safetensors")
        assert ", 1 epochs, " in found.metadata["training"]
        assert all(np.isfinite(array).all() for array in found.arrays.values())
