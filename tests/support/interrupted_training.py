"""Training in forked processes that are killed at random moments, or told to end, and resumed.

``python -m tests.support.interrupted_training FOLDER KILLS SEED`` prints, as JSON, in which moments runs were killed,
how they ended after a signal, and the names of files that differ from those of the unbroken run. The processes are
forked from one that has loaded PyTorch, because loading it takes longer than a run.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fastalex import variants
from fastalex._util import signals
from fastalex.train import checkpoint, logs, loop, recipes
from fastalex.train.settings import Settings

ROW = variants.get("alexnet2012", input_size=67, widths=(8, 16, 24, 24, 16, 32, 32))
# With everything that a run computes before it trains, or decides while it does: mean image, colors, plateaus.
RECIPE = recipes.get("paper", init="he", batch=8, epochs=4, lr=0.01)
CLASSES, TRAINING, VALIDATION = 3, 14, 4  # with a broken one 43 images: the last of six batches is not whole
SAVED = ("steps.csv", "epochs.csv", "bad-images.jsonl", "last.safetensors", "best.safetensors")
AGAIN = 0.5  # probability that a resumed run is killed, too
STEP = 8  # the step after which a signal is sent, in the second epoch


def draw_images(folder):
    """A folder of noise for each class, a little brighter than the last; two images cannot be read."""
    generator = np.random.default_rng(0)
    for part, count in (("train", TRAINING), ("val", VALIDATION)):
        for label in range(CLASSES):
            place = folder / part / str(label)
            place.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(60 * label, 60 * label + 100, (40, 40, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
        (folder / part / "0" / "broken.png").write_bytes(b"no image")


def differences(whole, out):
    return [name for name in SAVED if (whole / name).read_bytes() != (out / name).read_bytes()]


def train(images, out, resume=None, **options):
    if resume is None:
        resume = (out / "checkpoint.pt").exists()
    settings = {"workers": 0, "device": "cpu", "tensorboard": False, "quiet": True, "resume": resume, **options}
    with loop.processes():
        return loop.Run(Settings(data=str(images), out=str(out), **settings), RECIPE, ROW).run()


# Processes


def warm_up():
    """Load what every process would load, and leave out the picture, which takes it longer than to train."""
    torch.optim.SGD([torch.zeros(1)], lr=0.1)
    logs.draw = lambda *_: None


def forked(function, *arguments, **options):
    """Call ``function`` in a new process, with a group of its own, and return its number."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        os.setpgid(0, 0)
        torch.set_num_threads(1)
        function(*arguments, **options)
        code = 0
    except KeyboardInterrupt as stop:
        code = signals.exit_code(stop)
    except BaseException:  # noqa: BLE001 (a forked process must not return)
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(number):
    """The exit code of a process, or the negative number of the signal that ended it."""
    status = os.waitpid(number, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


# Kills


def moment(out):
    """Where a killed run was."""
    unfinished = list(out.glob(".*.tmp"))
    for path in unfinished:
        path.unlink()
    if unfinished:
        return "writing a file"
    path = out / "checkpoint.pt"
    if not path.exists():
        return "before the first checkpoint"
    state, steps = checkpoint.load(str(path)), len(logs.read(str(out / "steps.csv")))
    if steps > state["step"]:
        return "after steps that are lost"
    return "at the end of an epoch" if not state["done"] else "after a step that is saved"


def killed(images, out, length, generator, kills):
    """Train with up to ``kills`` kills; return the moments of those that met a running process."""
    moments = []
    options = {"save_every": generator.choice((0, 1, 2, 3)), "workers": generator.choice((0, 0, 0, 0, 0, 0, 0, 1))}
    kill = True
    while True:
        kill = kill and len(moments) < kills
        process = forked(train, images, out, **options)
        if kill:
            time.sleep(generator.uniform(0, length))
            os.kill(process, signal.SIGKILL)
        code = ended(process)
        if code == 0:
            return moments
        assert code == -signal.SIGKILL
        moments.append(moment(out))
        kill = generator.random() < AGAIN


# Signals


def wait_for(steps, out, process):
    while len(logs.read(str(out / "steps.csv"))) < steps:
        assert os.waitpid(process, os.WNOHANG) == (0, 0)
        time.sleep(0.002)


def group_told(images, whole, out):
    """SIGTERM to a process and its workers, as from service managers; exit codes, and files that differ."""
    process = forked(train, images, out, workers=2)
    wait_for(STEP, out, process)
    os.killpg(process, signal.SIGTERM)
    code, step = ended(process), checkpoint.load(str(out / "checkpoint.pt"))["step"]
    return {"codes": [code, ended(forked(train, images, out))], "step": step, "different": differences(whole, out)}


def train_as(rank, port, images, out, kind):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    train(images, out, parallel=kind)


def pair(images, out, kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return [forked(train_as, rank, port, images, out, kind) for rank in (0, 1)]


def one_of_two_told(images, whole, out, kind):
    """SIGTERM to the second of two processes, as torchrun's would be; both save, and both can go on."""
    codes = [ended(process) for process in pair(images, whole, kind)]
    processes = pair(images, out, kind)
    wait_for(STEP, out, processes[0])
    os.kill(processes[1], signal.SIGTERM)
    codes += [ended(process) for process in processes]
    step = checkpoint.load(str(out / "checkpoint.pt"))["step"]
    codes += [ended(process) for process in pair(images, out, kind)]
    return {"codes": codes, "step": step, "different": differences(whole, out)}


def main(folder, kills, seed):
    images, whole, out = folder / "images", folder / "whole", folder / "killed"
    draw_images(images)
    warm_up()
    began = time.perf_counter()
    assert ended(forked(train, images, whole)) == 0
    length, generator = time.perf_counter() - began, random.Random(seed)
    moments, different, runs = collections.Counter(), [], 0
    while sum(moments.values()) < kills:
        moments.update(killed(images, out, length, generator, kills - sum(moments.values())))
        different += differences(whole, out)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(out)
        runs += 1
    report = {"runs": runs, "kills": sum(moments.values()), "moments": moments, "different": different}
    report.update(seconds=round(time.perf_counter() - began, 1), run_s=round(length, 2))
    told = {"group": group_told(images, whole, folder / "group")}
    for kind in ("data", "columns", "hybrid")[: 3 if kills > 10 else 1]:
        told[kind] = one_of_two_told(images, folder / f"whole-{kind}", folder / kind, kind)
    report["told"] = told
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
