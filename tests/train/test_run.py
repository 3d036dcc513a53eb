"""Whole runs on real digits: learning, resumption, fine-tuning, and inference by the native engine."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.train import checkpoint, data, evaluate, logs, recipes
from fastalex.weights import initial

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from benchmarks.experiments import digits_data  # noqa: E402
from fastalex.train import loop  # noqa: E402
from fastalex.train.settings import Settings  # noqa: E402

pytestmark = pytest.mark.peers

ROOT = Path(__file__).resolve().parents[2]
QUICK = "--variant alexnet-digits --input-size 67 --init he --batch 16 --no-flip --color off --workers 0 --device cpu"
QUICK = [*QUICK.split(), "--no-tensorboard"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def script():
    return digits_data


@pytest.fixture(scope="module")
def folder(script, tmp_path_factory):
    """160 training and 60 validation digits."""
    place = tmp_path_factory.mktemp("digits")
    training, validation = script.sets()
    for name, found, count in (("train", training, 160), ("val", validation, 60)):
        for sample in found.samples[:count]:
            target = place / name / found.classes[sample.label]
            target.mkdir(parents=True, exist_ok=True)
            script.Image.fromarray(sample.pixels).save(target / sample.name)
    return place


def environment():
    return dict(os.environ, OMP_NUM_THREADS="1")


def run(capsys, *arguments):
    code = main([str(one) for one in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def settings(folder, out, **changes):
    base = {"workers": 0, "device": "cpu", "tensorboard": False, "quiet": True}
    return Settings(data=str(folder), out=str(out), **{**base, **changes})


# Learning, and the native engine ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(script, tmp_path_factory):
    """A network trained on the digits, with the paper's rule and halved dropout: 1438 images, five epochs."""
    out = tmp_path_factory.mktemp("trained")
    training, validation = script.sets()
    row = variants.get("alexnet-digits", input_size=67)
    recipe = recipes.get("paper", init="he", batch=16, lr=0.005, epochs=5, crop="center", flip=False, color="off")
    found = loop.Run(settings("", out), recipe, row, training, validation)
    return found, found.run(), validation


@pytest.mark.slow
def test_it_learns_and_the_native_engine_is_as_good_as_pytorch(trained):
    found, facts, validation = trained
    assert facts["top1"] > 0.8
    assert facts["train_error"] < 0.5
    net = AlexNet(weights=os.path.join(found.settings.out, "last.safetensors"), device="cpu")
    scores = evaluate.evaluate(net, validation)
    assert scores["images"] == 359
    # one image may be a near tie, decided by rounding
    assert abs(scores["top1"] - facts["top1"]) < 1.5 / 359
    images = np.concatenate([net.preprocess(sample.pixels) for sample in validation.samples[:64]])
    found.scheme.network.eval()
    with torch.no_grad():
        expected = found.scheme.logits(torch.from_numpy(images)).numpy()
    assert np.abs(expected).max() > 1
    # two float32 computations of eight layers, relative to the largest logit (as in tests/weights/test_digits.py)
    assert np.abs(net(images) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.slow
def test_curves_and_logs_are_written(trained):
    found, facts, _ = trained
    out = Path(found.settings.out)
    epochs = logs.read(str(out / "epochs.csv"))
    assert [int(row["epoch"]) for row in epochs] == list(range(5))
    assert float(epochs[-1]["top1"]) == facts["top1"]
    assert len(logs.read(str(out / "steps.csv"))) == facts["steps"] == 5 * 90
    with found_image(out / "curves.png") as picture:
        assert picture.format == "PNG" and picture.size[0] > 500
    best = weights.load(out / "best.safetensors")
    assert best.labels() == [str(digit) for digit in range(10)]
    assert best.variant() == found.row


def found_image(path):
    from PIL import Image

    return Image.open(path)


def test_ten_crop_against_pytorch(script, tmp_path, capsys):
    """The average of ten softmaxes, from the views of section 4.1, cut with numpy."""
    row = variants.get("alexnet2012", input_size=67, widths=(8, 16, 24, 24, 16, 32, 32), num_classes=10)
    arrays = initial.random_weights(row, 3)
    path = tmp_path / "w.safetensors"
    weights.save(path, arrays, weights.metadata_for(row, [str(digit) for digit in range(10)]))
    from fastalex.images import profiles
    from fastalex.networks import torch_reference

    model = torch_reference.build(row, dtype=torch.float64).eval()
    torch_reference.load(model, arrays)
    place = tmp_path / "set"
    right = 0
    samples = script.sets()[1].samples[:40]
    mean = np.array(profiles.get(row.profile).mean)
    for sample in samples:
        target = place / str(sample.label)
        target.mkdir(parents=True, exist_ok=True)
        picture = script.Image.fromarray(sample.pixels)
        picture.save(target / sample.name)
        big = np.asarray(picture.resize((76, 76), script.Image.BILINEAR), float)[..., None] - mean
        five = [big[t : t + 67, s : s + 67] for t, s in ((0, 0), (0, 9), (9, 0), (9, 9), (4, 4))]
        views = np.stack([*five, *(view[:, ::-1] for view in five)]).transpose(0, 3, 1, 2)
        with torch.no_grad():
            probability = model(torch.from_numpy(np.ascontiguousarray(views))).softmax(1).mean(0)
        right += int(probability.argmax()) == sample.label
    assert len({sample.label for sample in samples}) > 5
    code, out, _ = run(capsys, "evaluate", place, "--weights", path, "--ten-crop", "--device", "cpu", "--json")
    found = json.loads(out)
    assert (code, found["images"], found["ten_crop"]) == (0, 40, True)
    assert found["top1"] == pytest.approx(right / 40)
    code, out, _ = run(capsys, "evaluate", place, "--weights", path, "--device", "cpu")
    assert code == 0 and "40 images, one crop: top-1" in out


def test_mean_image_travels_with_the_weights(script, tmp_path):
    training, _ = script.sets()
    few = data.Images(training.samples[::20], training.classes)
    row = variants.get("alexnet2012", input_size=67, widths=(8, 16, 24, 24, 16, 32, 32))
    recipe = recipes.get("paper", batch=36, epochs=1, lr=1e-4)
    found = loop.Run(settings("", tmp_path), recipe, row, few, few)
    found.run()
    net = AlexNet(weights=str(tmp_path / "last.safetensors"), device="cpu")
    assert net.mean_image.shape == (3, 76, 76)
    resized = [
        np.asarray(script.Image.fromarray(s.pixels).resize((76, 76), script.Image.BILINEAR)) for s in few.samples
    ]
    np.testing.assert_allclose(net.mean_image[0], np.mean(resized, 0), rtol=1e-5)
    by_hand = resized[0][4:71, 4:71] - net.mean_image[1, 4:71, 4:71]
    np.testing.assert_allclose(net.preprocess(few.samples[0].pixels)[0, 1], by_hand, atol=1e-4)
    net.save(tmp_path / "again.npz")
    assert np.array_equal(weights.load(tmp_path / "again.npz").mean_image(), net.mean_image)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"shape": [3, 2, 2], "float32": "AAAA"}', '{"shape": 3, "float32": "?"}']
)
def test_a_broken_mean_image_is_refused(tmp_path, text):
    weights.save(tmp_path / "x.npz", {}, {weights.MEAN_IMAGE_KEY: text})
    with pytest.raises(UserError, match="mean.image.*not valid"):
        weights.load(tmp_path / "x.npz").mean_image()


@pytest.mark.slow
def test_jetbot_s_case_in_one_command(tmp_path, capsys):
    """Fine-tune torchvision's network to two classes, then classify by the native engine."""
    generator = np.random.default_rng(0)
    row = variants.get("torchvision", widths=(16, 32, 48, 32, 32, 64, 64), num_classes=20)
    weights.save(tmp_path / "start.safetensors", initial.random_weights(row, 1), weights.metadata_for(row))
    from PIL import Image

    for name, brightness in (("blocked", 60), ("free", 190)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(16):
            pixels = generator.integers(brightness - 50, brightness + 50, (60, 60, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / (f"{number}.jpg"))
    code, out, err = run(
        capsys,
        *("train", tmp_path / "set", "--finetune", tmp_path / "start.safetensors", "--classes", 2, "--holdout", 0.25),
        *(
            "--out",
            tmp_path / "run",
            "--epochs",
            10,
            "--lr",
            0.002,
            "--workers",
            0,
            "--device",
            "cpu",
            "--no-tensorboard",
        ),
    )
    assert (code, err) == (0, "")
    assert "recipe jetbot; 24 training images, 8 validation images, 2 classes; device cpu" in out
    best = tmp_path / "run" / "best.safetensors"
    assert weights.load(best).variant().profile == "jetbot"
    code, out, _ = run(
        capsys, "classify", tmp_path / "set" / "free" / "1.jpg", "--weights", best, "--device", "cpu", "--json"
    )
    assert code == 0
    assert json.loads(out)["images"][0]["predictions"][0]["label"] == "free"
    code, out, _ = run(capsys, "evaluate", tmp_path / "set", "--weights", best, "--device", "cpu", "--json")
    assert json.loads(out)["top1"] > 0.9
    code, _, err = run(capsys, "evaluate", tmp_path / "set", "--weights", best, "--device", "cpu", "--ten-crop")
    assert code == 2 and "profile jetbot does not crop" in err


def test_finetuned_weights_compute_what_they_did_before():
    """Also for recipes that halve in evaluation: weights after dropout are doubled at the start."""
    row = variants.get("alexnet2012", widths=(8, 16, 24, 24, 16, 32, 32), num_classes=5, input_size=67)
    from fastalex.train import initial as start
    from fastalex.train.dropout import Masks
    from fastalex.train.parallel import Scheme

    arrays = initial.random_weights(row, 2)
    recipe = recipes.get("paper")
    found, fresh = start.finetuned(row, recipe, 0, weights.Weights(dict(arrays)))
    assert not fresh
    from fastalex.networks import torch_reference

    model = torch_reference.build(row).eval()
    torch_reference.load(model, arrays)
    scheme = Scheme("none", row, [torch.device("cpu")], Masks(0), recipe.dropout)
    scheme.load(found)
    scheme.network.eval()
    x = torch.randn(2, 3, 67, 67)
    with torch.no_grad():
        assert torch.equal(scheme.logits(x), model(x))
    assert start.finetuned(variants.get(row, num_classes=3), recipe, 0, weights.Weights(dict(arrays)))[1]


# Resumption -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_resume_refuses_what_is_not_the_same_run(folder, trained, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    arguments = ["train", folder, *QUICK, "--epochs", 1, "--lr", 0.005, "--out", out, "--json"]
    assert run(capsys, *arguments)[0] == 0
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "has a checkpoint: add --resume" in err
    code, _, err = run(capsys, *arguments, "--resume", "--seed", 1)
    assert code == 2 and "made with another" in err
    with monkeypatch.context() as old:
        old.setattr(torch, "__version__", "2.5.1+cpu")
        code, _, err = run(capsys, *arguments, "--resume")
        assert code == 2 and "PyTorch 2.5.1+cpu would run code" in err and "CVE-2025-32434" in err and "--trust" in err
        assert run(capsys, *arguments, "--resume", "--trust")[0] == 0
    (tmp_path / "fewer").mkdir()
    for part in ("train", "val"):
        (tmp_path / "fewer" / part).mkdir()
        for digit in ("0", "1"):
            (tmp_path / "fewer" / part / digit).symlink_to(folder / part / digit)
    arguments[1] = tmp_path / "fewer"
    code, _, err = run(capsys, *arguments, "--resume")
    assert code == 2 and "network with 10 classes, but the data has 2" in err
    code, _, err = run(capsys, *arguments[:-3], "--out", tmp_path / "none", "--resume")
    assert code == 2 and "there is no checkpoint" in err
    (out / "checkpoint.pt").write_bytes(b"PK\x03\x04 no checkpoint")
    arguments[1] = folder
    code, _, err = run(capsys, *arguments, "--resume")
    assert code == 2 and "is not a checkpoint of this version" in err


SHAPES = {"conv1.weight": (2, 3, 1, 1), "conv1.bias": (2,)}


def sound_state():
    tensors = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    return {
        "classes": ["cat", "dog"],
        "facts": {"seed": "0"},
        "parameters": tensors,
        "momenta": dict(tensors),
        "schedule": {"reductions": 0, "best": float("inf"), "bad": 0},
        "scaler": {"scale": 65536.0, "_growth_tracker": 3},
        "epoch": 1,
        "step": 10,
        "done": 0,
        "sums": [4, 0.5, 2],
        "best": -1.0,
        "bad": {"a.jpg": "cannot be read"},
    }


def checked(path, state):
    checkpoint.save(str(path), state)
    checkpoint.check(str(path), checkpoint.load(str(path)), ["cat", "dog"], {"seed": "0"}, SHAPES)


@pytest.mark.parametrize("name", sound_state())
def test_a_damaged_entry_of_a_checkpoint_is_named(tmp_path, name):
    path, state = tmp_path / "checkpoint.pt", sound_state()
    checked(path, state)
    wrongs = [None, -2, "x", [], [1, 2], [None] * 3, {}, {1: 1}, {"a": None}, {"conv1.weight": torch.zeros(2)}]
    tensors = state["parameters"]
    wrongs += [{**tensors, "conv1.bias": wrong} for wrong in (torch.zeros(3), torch.zeros(2, dtype=torch.long), None)]
    wrongs += [{**tensors, "conv1.bias": torch.zeros(2).to_sparse()}, {**tensors, "more": torch.zeros(1)}]
    for wrong in wrongs:
        if (name, wrong) in (("best", -2), ("scaler", {}), ("bad", {})):
            continue  # could be
        with pytest.raises(UserError, match=f"{path}") as caught:
            checked(path, {**state, name: wrong})
        assert name in str(caught.value) or name in ("classes", "facts")
    del state[name]
    with pytest.raises(UserError, match=name):
        checked(path, state)


def test_a_checkpoint_that_is_a_bomb_is_refused(tmp_path):
    """2,000 copies of a dict of 20,000 pairs, which PyTorch would make of a file of 0.2 MB."""
    pairs = b"](" + b"".join(b"(J" + struct.pack("<i", index) + b"Nt" for index in range(20_000)) + b"eq\x00"
    copies = b"](" + b"ccollections\nOrderedDict\nh\x00\x85R" * 2000 + b"e."
    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pairs + copies)
        archive.writestr("archive/version", "3\n")
    tracemalloc.start()
    with pytest.raises(UserError, match="not a checkpoint"):
        checkpoint.load(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20


@pytest.mark.parametrize(
    ("version", "old"),
    [
        *(("2.5.1+cu121", True), ("1.13.0", True), ("2.6.0a0+df5bbc09d1.nv24.12", True), ("unknown", True)),
        *(("2.6.0", False), ("2.7.0a0+git", False), ("2.13.0+cpu", False), ("3.0", False)),
    ],
)
def test_old_releases_of_pytorch_resume_nothing_without_trust(tmp_path, monkeypatch, version, old):
    path = str(tmp_path / "checkpoint.pt")
    checkpoint.save(path, {"step": 1})
    monkeypatch.setattr(torch, "__version__", version)
    assert checkpoint.load(path, trust=True)["step"] == 1
    if not old:
        assert checkpoint.load(path)["step"] == 1
        return
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was read"))
    with pytest.raises(UserError, match=r"CVE-2025-32434\): install PyTorch 2.6 or newer, or add --trust"):
        checkpoint.load(path)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", b"\x00" * 100])
def test_damaged_statistics_and_logs_are_made_anew(tmp_path, damage):
    from fastalex.train import color

    (tmp_path / "statistics.npz").write_bytes(damage)
    assert color.load(str(tmp_path / "statistics.npz"), "key") is None
    whole = color.Statistics(np.zeros((3, 4, 4), np.float32), np.ones(3), np.eye(3), 5)
    for statistics, right in ((whole, True), (whole._replace(mean=np.zeros((4, 4, 3))), False)):
        with open(tmp_path / "statistics.npz", "wb") as stream:
            color.save(stream, statistics, "key")
        assert (color.load(str(tmp_path / "statistics.npz"), "key") is not None) == right
    path = tmp_path / "steps.csv"
    path.write_bytes(b"step,epoch,loss,lr\n1,0,0.5,0.1\nx,0,0.5,0.1\n2,0\n3,0,0.5,0.1,7\n" + damage + b"\n")
    logs.Table(str(path), logs.STEP_COLUMNS, "step", 3).close()
    assert [row["step"] for row in logs.read(str(path))] == ["1", "3"]


@pytest.mark.slow
def test_a_longer_run_may_go_on(folder, tmp_path, capsys):
    arguments = ["train", folder, *QUICK, "--lr", 0.005, "--out", tmp_path, "--json"]
    assert run(capsys, *arguments, "--epochs", 1)[0] == 0
    code, out, _ = run(capsys, *arguments, "--epochs", 2, "--resume")
    assert code == 0 and json.loads(out)["epochs"] == 2
    assert [row["epoch"] for row in logs.read(str(tmp_path / "epochs.csv"))] == ["0", "1"]


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    """A limit on the size of files stands for the full disk: the write fails half-way, as there."""
    path = str(tmp_path / "checkpoint.pt")
    checkpoint.save(path, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(UserError, match="previous checkpoint"):
            checkpoint.save(path, {"step": 2, "big": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert checkpoint.load(path)["step"] == 1
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_a_row_that_a_crash_cut_off_is_dropped(tmp_path):
    path = str(tmp_path / "steps.csv")
    table = logs.Table(path, ("step", "loss"), "step", None)
    for step in (1, 2, 3):
        table.add({"step": step, "loss": 0.1 * step})
    table.close()
    with open(path, "a", encoding="utf-8") as stream:
        stream.write("4,0.4")
    assert [row["step"] for row in logs.read(path)] == ["1", "2", "3"]
    logs.Table(path, ("step", "loss"), "step", 2).close()
    assert [row["step"] for row in logs.read(path)] == ["1", "2"]


# Other ways to run ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_accumulation_and_workers_change_nothing_but_rounding(folder, tmp_path):
    """At a rate at which rounding does not grow from step to step; tests/train/test_parallel.py has the proof."""
    found = []
    for name, changes in (("whole", {}), ("parts", {"accumulate": 4, "workers": 2})):
        recipe = recipes.get("paper", init="he", batch=16, lr=1e-7, epochs=1, flip=False, color="off")
        one = loop.Run(
            settings(folder, tmp_path / name, **changes), recipe, variants.get("alexnet-digits", input_size=67)
        )
        one.run()
        found.append([float(row["loss"]) for row in logs.read(str(tmp_path / name / "steps.csv"))])
    assert len(found[0]) == 10
    assert np.std(found[0]) > 0.01
    # eight layers of float32 sums in another order: 2**-24 times the root of the longest, 1728, for each
    np.testing.assert_allclose(*found, rtol=8 * 1728**0.5 * 2**-24)


@pytest.mark.slow
def test_mixed_precision_trains(folder, tmp_path):
    recipe = recipes.get("paper", init="he", batch=16, lr=0.005, epochs=1, flip=False, color="off")
    losses = []
    for amp in (None, "bf16"):
        out = tmp_path / str(amp)
        loop.Run(settings(folder, out, amp=amp), recipe, variants.get("alexnet-digits", input_size=67)).run()
        losses.append([float(row["loss"]) for row in logs.read(str(out / "steps.csv"))])
    assert losses[0] != losses[1]
    # 8 bits of significand through eight layers: the first loss, before the runs part, within 8 * 2**-8
    assert losses[1][0] == pytest.approx(losses[0][0], rel=8 / 256)


def test_tensorboard_events_are_written(folder, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = recipes.get("paper", init="he", batch=80, lr=0.005, epochs=1, flip=False, color="off")
    out = tmp_path / "out"
    loop.Run(settings(folder, out, tensorboard=True), recipe, variants.get("alexnet-digits", input_size=67)).run()
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    written = [event.value for event in events.Scalars("train/loss")]
    expected = [float(row["loss"]) for row in logs.read(str(out / "steps.csv"))]
    assert written == pytest.approx(expected, rel=1e-6)
    assert "validation/top1" in events.Tags()["scalars"]


@pytest.mark.slow
def test_torchrun_trains_two_columns_on_gloo(folder, tmp_path):
    """The same losses as on one device, up to float32's rounding, and the bytes sent per step are printed."""
    arguments = [str(folder), *QUICK, "--epochs", "2", "--lr", "0.003", "--out"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "fastalex.train"]
    done = subprocess.run(
        [*command, *arguments, str(tmp_path / "two"), "--parallel", "columns"],
        env=environment(),
        capture_output=True,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert "columns over 2 processes" in said
    assert "all_gather" in said and "bytes sent per step by each process" in said
    assert said.count("epoch   1 of 2") == 1, "one process speaks"
    assert main(["train", *arguments, str(tmp_path / "one"), "--json"]) == 0
    one, two = (
        [float(row["loss"]) for row in logs.read(str(tmp_path / name / "steps.csv"))] for name in ("one", "two")
    )
    assert len(one) == len(two) == 20
    # before the first update: eight layers of float32 sums in another order, as above
    assert two[0] == pytest.approx(one[0], rel=8 * 1728**0.5 * 2**-24)
    assert np.mean(two[10:]) < np.mean(two[:10])
    net = AlexNet(weights=str(tmp_path / "two" / "last.safetensors"), device="cpu")
    top1 = float(logs.read(str(tmp_path / "two" / "epochs.csv"))[-1]["top1"])
    found = evaluate.evaluate(net, data.find(str(folder / "val")))
    assert abs(found["top1"] - top1) < 1.5 / 60


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--batch", 30, "--accumulate", 4], "batch of 30"),
        (["--classes", 3], "--classes"),
        (["--recipe", "papers"], "'papers'"),
        (["--lr", 0], "lr must"),
        (["--lr", "inf"], "lr must"),
        (["--amp", "fp16"], "--amp bf16"),
        (["--amp", "fp8"], "'fp8'"),
        (["--parallel", "columns"], "torchrun"),
        (["--profile", "no"], "profile 'no'"),
        (["--finetune", "none.safetensors"], "none.safetensors"),
        (["--workers", -1], "--workers"),
        (["--lr", 1e30], "smaller --lr"),
    ],
)
def test_mistakes_are_one_sentence(folder, tmp_path, capsys, arguments, word):
    code, _, err = run(capsys, "train", folder, *QUICK, "--epochs", 1, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert word in err
    assert err.count("\n") == 1


def test_evaluate_matches_classes_by_name():
    assert evaluate.class_numbers(["b", "a"], ["a", "b", "c"], 3) == [1, 0]
    assert evaluate.class_numbers(["x", "y"], None, 2) == [0, 1]
    assert evaluate.class_numbers(["n01440764", "n01443537"], None, 1000) == [0, 1]
    with pytest.raises(UserError, match="'z'"):
        evaluate.class_numbers(["z"], ["a", "b"], 2)
    with pytest.raises(UserError, match="2 classes.*3"):
        evaluate.class_numbers(["x", "y"], None, 3)


@pytest.mark.slow
def test_evaluate_leaves_out_what_it_cannot_read(trained, script, tmp_path, capsys):
    found, _, validation = trained
    for sample in validation.samples[:30]:
        target = tmp_path / str(sample.label)
        target.mkdir(exist_ok=True)
        script.Image.fromarray(sample.pixels).save(target / sample.name)
    (tmp_path / "0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    path = os.path.join(found.settings.out, "best.safetensors")
    code, out, err = run(capsys, "evaluate", tmp_path, "--weights", path, "--device", "cpu", "--json")
    assert code == 0 and "broken.png" in err
    assert (json.loads(out)["images"], json.loads(out)["bad"]) == (30, 1)
    code, _, err = run(capsys, "evaluate", tmp_path, "--weights", path, "--device", "cpu", "--bad-limit", 0)
    assert code == 2 and "more than --bad-limit 0 allows" in err
