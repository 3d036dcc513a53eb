"""Write devices/tuning/*.toml, the predicted rules: the kernel of each standard layer at each batch.

    python -m tools.write_tuning [DEVICE ...]

The CUDA library's cost models choose, asked through the emulated backend (cuda_emulator) that pretends to be each
card. A rule is written where all cards of a file agree; where they do not, the library chooses by the card's size. A
device whose rules are measured is left alone. How a sum is split is not in a rule, since it follows the number of SMs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from cuda_emulator import emulated
from fastalex import _core
from fastalex._util.files import write_atomically
from fastalex.hardware import devices
from fastalex.networks.layers import layer_table
from fastalex.runtime.precisions import FC_STORAGES, SUPPORTED
from fastalex.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = ("fp32", "fp16")
LAST = (1, 2, 4, 8, 16, 32, 64, 128)  # last batch of each range
HEAD = """\
# Which kernel serves which layer on %s. Written by `python -m tools.write_tuning %s`.
# A rule is fp32|fp16 KEY FIRST-LAST CANDIDATE [split=N] (csrc/include/fastalex.h); the first that fits is followed.

"""
SOURCE = "tools/write_tuning.py: the cost models in csrc/cuda/, where all cards of this file agree"


def layers():
    """The convolutions and fully connected layers of the two standard networks, each once."""
    unique = {}
    for name in ("alexnet2012", "torchvision"):
        for layer in VARIANTS[name].layers():
            if layer.op in ("conv", "fc"):
                unique.setdefault((layer.in_shape, tuple(layer.options.items())), layer)
    return list(unique.values())


def chosen(layer, precision, storage):
    """[(key, candidate)] for each of LAST, on the pretended device."""
    channels, height, width = (*layer.in_shape, 1, 1)[:3]
    params = [np.zeros(shape, np.float32) for shape in layer.param_shapes.values()]
    # A fully connected layer has inputs from a ReLU, as in the networks.
    before = "relu name=before\n" if layer.op == "fc" else ""
    net = _core.Net(
        before + layer_table([layer]),
        [channels, height, width],
        params,
        emulated.BACKEND,
        FC_STORAGES.index(storage),
        precision=PRECISIONS.index(precision),
    )
    steps = [json.loads(net.describe(_core.Call(shape=(batch, height, width))))["steps"][-1] for batch in LAST]
    return [(step["key"], step["candidate"]) for step in steps]


def rules_of(device):
    """The tuning lines on which all cards of a device agree."""
    lines = []
    for layer in layers():
        for precision in PRECISIONS:
            storages = SUPPORTED["cuda"][precision] if layer.op == "fc" else (precision,)
            for storage in storages:
                choices = []
                for card in device.cards:
                    with emulated.pretend(emulated.device_text(device.name, card.name)):
                        choices.append(chosen(layer, precision, storage))
                lines += merged(list(zip(*choices)))
    return lines


def merged(choices):
    """Tuning lines for the ranges of batches in which every card chooses the same candidate."""
    first, lines = 1, []
    for index, (last, of_cards) in enumerate(zip(LAST, choices)):
        same = len(set(of_cards)) == 1
        following = choices[index + 1] if index + 1 < len(choices) else None
        if same and following is not None and set(following) == set(of_cards):
            continue
        if same:
            lines.append(f"{of_cards[0][0]} {first}-{last} {of_cards[0][1]}")
        first = last + 1
    return lines


def write(device):
    """Write the device's file of rules."""
    path = ROOT / "devices" / "tuning" / (device.name + ".toml")
    lines = rules_of(device)
    text = HEAD % (device.title, device.name) + f'basis = "predicted"\nsource = "{SOURCE}"\n'
    text += "rules = [\n{}]\n".format("".join(f'  "{line}",\n' for line in lines))
    write_atomically(path, text)
    print(f"{device.name}: {len(lines)} rules")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", nargs="*", help="names of device files; default: all")
    options = parser.parse_args()
    emulated.load()
    for name in options.devices or list(devices.load_all()):
        device = devices.get(name)
        if device.tuning is not None and device.tuning.basis == "measured":
            print(f"{name}: measured, left alone")
        else:
            write(device)


if __name__ == "__main__":
    main()
