"""Users of damaged files: each reads one as the package's own users do, and returns what they would see.

A file that is refused raises a UserError, or ends a command with the code 2. Whatever else is raised is a fault.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import tempfile
import warnings
from typing import Any, Callable, Dict, NamedTuple, Sequence

import numpy as np

from fastalex import AlexNet, weights
from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.images import open_image
from fastalex.quantize import calibration
from tests.support.small_net import PLACE


class Seen(NamedTuple):
    """What a user sees: the sentence of a refusal, warnings and output. ``refusal`` is empty for a file in use."""

    refusal: str = ""
    output: str = ""
    notes: Sequence[str] = ()


def use(target: str, path: str, number: int) -> Seen:
    """Let ``target`` read the file at ``path``.

    :param number: of the case, which chooses among the uses of a file.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            seen: Seen = TARGETS[target](path, number)
        except UserError as error:
            seen = Seen(str(error))
    notes = [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
    return seen._replace(notes=notes)


def command(*arguments: str) -> Seen:
    """Run a command of the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    if code not in (0, 2):
        raise AssertionError(f"fastalex {arguments[0]} ended with the code {code}")
    return Seen(err.getvalue().rstrip("\n") if code else "", out.getvalue() + ("" if code else err.getvalue()))


# Weights --------------------------------------------------------------------------------------------------------------


def _network(path: str, folder: str) -> Seen:
    net = AlexNet(weights=path, device="cpu", threads=1)
    net.classify(np.zeros((40, 50, 3), np.uint8))
    net.save(os.path.join(folder, "saved.safetensors"))
    return Seen()


def _int8_network(path: str, folder: str) -> Seen:
    net = AlexNet(weights=path, device="cpu", threads=1, precision="int8")
    net.classify(np.zeros((40, 50, 3), np.uint8))
    return Seen()


def _every_array(path: str, folder: str) -> Seen:
    loaded = weights.load(path)
    for array in loaded.arrays.values():
        with np.errstate(all="ignore"):
            np.asarray(array).sum()  # every byte can be touched
    loaded.variant(), loaded.labels(), loaded.calibration(), loaded.mean_image()
    return Seen()


def _convert(path: str, folder: str) -> Seen:
    return command("convert", path, os.path.join(folder, "converted.npz"))


def _classify(path: str, folder: str) -> Seen:
    return command("classify", "--weights", path, "--device", "cpu", "--threads", "1", _picture())


def _quantize(path: str, folder: str) -> Seen:
    return command("quantize", path, os.path.join(folder, "quantized.safetensors"), "--threads", "1")


def _summary(path: str, folder: str) -> Seen:
    return command("summary", "--weights", path)


def _export(path: str, folder: str) -> Seen:
    return command("export", path, os.path.join(folder, "exported.onnx"))


def _bench(path: str, folder: str) -> Seen:
    return command("bench", "--weights", path, "--device", "cpu", "--threads", "1", "--repeat", "1")


_USES = (_network, _convert, _every_array, _classify, _int8_network, _quantize, _summary, _export)
_BENCH = 96  # a case in so many is used by bench, which measures for half a second


def _weights(path: str, number: int) -> Seen:
    folder = os.path.join(os.path.dirname(path), "out")
    os.makedirs(folder, exist_ok=True)
    use = _bench if number % _BENCH == _BENCH - 1 else _USES[number % len(_USES)]
    return use(path, folder)


# Images, and what goes with them --------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def _network_file() -> str:
    """The path of a sound network of two classes."""
    from tests.fuzz import corpus

    path = os.path.join(tempfile.mkdtemp(prefix="fastalex-fuzz-"), "sound.safetensors")
    weights.save(path, corpus.arrays(), weights.metadata_for(corpus.ROW, corpus.LABELS))
    return path


@functools.lru_cache(maxsize=None)
def _picture() -> str:
    from PIL import Image

    path = os.path.join(tempfile.mkdtemp(prefix="fastalex-fuzz-"), "sound.png")
    Image.new("RGB", (40, 30), "teal").save(path)
    return path


@functools.lru_cache(maxsize=None)
def _sound_network() -> AlexNet:
    return AlexNet(weights=_network_file(), device="cpu", threads=1)


def _image(path: str, number: int) -> Seen:
    open_image(path)
    _sound_network().preprocess(path)
    return Seen()


def _mean(path: str, number: int) -> Seen:
    AlexNet(weights=_network_file(), device="cpu", threads=1, mean_image=path).preprocess(np.zeros((9, 9, 3), np.uint8))
    return Seen()


def _labels(path: str, number: int) -> Seen:
    from fastalex.video import overlay

    seen = command("classify", "--weights", _network_file(), "--device", "cpu", "--labels", path, _picture())
    if not seen.refusal:
        from fastalex.weights.class_names import read_labels

        overlay.draw(np.zeros((120, 160, 3), np.uint8), read_labels(path, 2), 30.0)
    return seen


def _calibration(path: str, number: int) -> Seen:
    from tests.fuzz.corpus import ROW

    with open(path, encoding="utf-8", errors="replace") as stream:
        text = stream.read()
    found = calibration.from_json(text)
    calibration.scales_for(ROW, found)
    AlexNet(weights=_network_file(), device="cpu", threads=1, precision="int8", calibration=found)
    return Seen()


# The tuning cache -----------------------------------------------------------------------------------------------------

_RULE = "fp16 conv:48x5x5/1:128 1-8 hfma2_64x64 split=4"
_TRIAL = {"precision": "fp16", "key": "lrn", "batch": 1, "candidate": "a", "verdict": "ok", "ms": 0.5, "noise_ms": 0.1}


def tuning_cache() -> Dict[str, Any]:
    """The content of a sound cache."""
    from fastalex.tuning import user_cache

    return {
        "version": user_cache.CACHE_VERSION,
        "key": user_cache.cache_key(PLACE),
        "rules": [_RULE],
        "settings": ["graphs off"],
        "trials": [dict(_TRIAL, key="conv:48x5x5/1:128")],
    }


def _tuning(path: str, number: int) -> Seen:
    """A broken cache is never an error: it is as none."""
    from fastalex.hardware.tuning_rule import parse_rule
    from fastalex.tuning import rules, user_cache

    cache = os.path.join(os.path.dirname(path), "cache")
    os.environ["XDG_CACHE_HOME"] = cache
    kept = user_cache.cache_path(PLACE)
    os.makedirs(os.path.dirname(kept), exist_ok=True)
    os.replace(path, kept)
    text = rules.choose(PLACE).text
    if any(not line.isprintable() for line in text.split("\n")):
        raise AssertionError("a rule of the cache is not printable")
    measured = parse_rule("fp16 lrn 1-1 a")
    user_cache.write_cache(PLACE, [measured], [_TRIAL])
    if measured not in user_cache.read_cache(PLACE).rules:
        raise AssertionError("a measurement was lost")
    return Seen()


# Training checkpoints -------------------------------------------------------------------------------------------------


def _run(folder: str, resume: bool) -> Any:
    """A run on four pictures that is over before its first epoch."""
    import torch
    from PIL import Image

    from fastalex.train import loop, recipes
    from fastalex.train.settings import Settings
    from tests.fuzz.corpus import ROW

    torch.set_num_threads(1)
    data = os.path.join(folder, "data")
    if not os.path.exists(data):
        for kind in ("train", "val"):
            for label in ("one", "two"):
                os.makedirs(os.path.join(data, kind, label))
                Image.new("RGB", (70, 70), (40, 90, 200)).save(os.path.join(data, kind, label, "a.png"))
    options = {"workers": 0, "device": "cpu", "tensorboard": False, "quiet": True, "resume": resume}
    recipe = recipes.get("paper", init="he", batch=2, epochs=0, crop="center", flip=False, color="off")
    return loop.Run(Settings(data=data, out=os.path.join(folder, "run"), **options), recipe, ROW)


def checkpoint() -> bytes:
    """The bytes of a sound checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        run = _run(folder, False)
        run.run()
        run._save()
        with open(run.path("checkpoint.pt"), "rb") as stream:
            return stream.read()


@functools.lru_cache(maxsize=None)
def _run_folder() -> str:
    folder = tempfile.mkdtemp(prefix="fastalex-fuzz-")
    _run(folder, False).run()
    return folder


def _checkpoint(path: str, number: int) -> Seen:
    folder = _run_folder()
    os.replace(path, os.path.join(folder, "run", "checkpoint.pt"))
    _run(folder, True).run()
    return Seen()


TARGETS: Dict[str, Callable[[str, int], Seen]] = {
    "weights": _weights,
    "mean": _mean,
    "image": _image,
    "labels": _labels,
    "calibration": _calibration,
    "tuning": _tuning,
    "checkpoint": _checkpoint,
}

# Numbers that stand for every use of a file of this target; there is one of the others.
USES = {"weights": (*range(len(_USES)), _BENCH - 1)}


def prepare(target: str) -> None:
    """Load what ``target`` needs, so that a case is not charged for it."""
    if target in ("mean", "labels", "image", "calibration"):
        _sound_network()
    if target in ("labels", "weights"):
        _picture()
    if target == "weights":
        command("export", _network_file(), os.path.join(os.path.dirname(_network_file()), "sound.onnx"))
    if target == "checkpoint":
        _run_folder()
