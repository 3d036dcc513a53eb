"""Cost in accuracy of fully connected weights with fewer bits, with the quantizers of the engines.

Other tests compare kernels with the dequantized weights; here those are compared with the original weights.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fastalex import AlexNet, _core, variants
from fastalex.runtime.precisions import FC_STORAGES, SUPPORTED

ROOT = Path(__file__).resolve().parents[2]
SIZES = (9216, 4096, 4096, 1000)  # fc6, fc7, fc8
TABLE = "\n".join(
    f"fc name=fc{6 + i} out={out}" + (f"\nrelu name=relu{6 + i}" if i < 2 else "") for i, out in enumerate(SIZES[1:])
)
# Bounds on random weights relative to the range of the logits: largest error and root mean square.
LARGEST = {"fp16": 0.001, "int8": 0.015}
RMS = {"int4": 0.035}


def logits(params, x):
    for i in range(0, len(params), 2):
        x = x @ params[i].T + params[i + 1]
        if i < len(params) - 2:
            x = np.maximum(x, 0)
    return x


@pytest.mark.slow
@pytest.mark.parametrize("backend", [pytest.param("emulated", marks=pytest.mark.emulator), "cpu"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_real_layers_on_random_weights(backend, seed, capsys):
    rng = np.random.default_rng(seed)
    params = []
    for inputs, outputs in zip(SIZES, SIZES[1:]):
        scale = np.float32(np.sqrt(2 / inputs))  # He
        params += [rng.standard_normal((outputs, inputs), np.float32) * scale, np.zeros(outputs, np.float32)]
    x = np.maximum(rng.standard_normal((16, SIZES[0]), np.float32), 0)
    expected = logits(params, x)
    span = np.ptp(expected, axis=1, keepdims=True)
    for storage in SUPPORTED["cpu" if backend == "cpu" else "cuda"]["fp32"][1:]:
        net = _core.Net(TABLE, [SIZES[0], 1, 1], params, backend, FC_STORAGES.index(storage))
        kept = [net.param(i).reshape(param.shape) for i, param in enumerate(params)]
        off = (logits(kept, x) - expected) / span
        largest, rms = float(np.abs(off).max()), float(np.sqrt(np.mean(off**2)))
        with capsys.disabled():
            print(f"\n{backend} {storage}: largest {100 * largest:.2f} %, rms {100 * rms:.2f} % of the range")
        assert 0 < largest < LARGEST.get(storage, 1)
        assert rms < RMS.get(storage, 1)


@pytest.mark.peers
def test_classes_of_the_digits(capsys, emulated):
    """Top-1 agreement with the fp32 weights on the held-out digits, by the dequantized weights of each kind."""
    pytest.importorskip("sklearn")
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("digits_example", ROOT / "examples" / "train_digits.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    gray, labels = script.load_images()
    _, held_out = script.held_out_split(labels)
    row = variants.get("alexnet-digits")
    held = script.prepare(gray[held_out], row)
    expected = AlexNet(weights="digits", device="cpu")(held).argmax(1)
    for storage in SUPPORTED["cuda"]["fp16"]:
        net = AlexNet(weights="digits", device="emulated", precision="fp16", fc_weights=storage)
        found = AlexNet(row, weights=net.state_dict(), device="cpu")(held).argmax(1)
        agreement, accuracy = np.mean(found == expected), np.mean(found == labels[held_out])
        with capsys.disabled():
            print(f"\n{storage}: top-1 agreement {100 * agreement:.2f} %, accuracy {100 * accuracy:.2f} %")
        assert agreement >= 0.98
        assert accuracy >= 0.98
