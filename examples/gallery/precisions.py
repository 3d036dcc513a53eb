"""
Save memory: weights in fp16, int8 and int4
===========================================

Nearly all weights of an AlexNet are those of its fully connected layers. Kept in fewer bits they take less memory, and
less time to read. This script compares the sizes of torchvision's network, and how much its answers change. The weights
are random here; load your own to see what it costs you.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fastalex import AlexNet

images = sorted(str(path) for path in (Path(sys.argv[0]).resolve().parents[1] / "digits").glob("*.png"))[:4]

# %%
# One network for each kind of weights. ``fastalex quantize`` writes such a file once.
rows, reference = [], None
for storage in ("fp32", "fp16", "int8", "int4"):
    net = AlexNet("torchvision", weights="random", device="cpu", fc_weights=storage)
    logits = net(net.preprocess(images))
    reference = logits if reference is None else reference
    error = np.abs(logits - reference).max() / np.abs(reference).max()
    rows.append((storage, net.param_bytes / 1e6, error))
    print(f"{storage}: {net.param_bytes / 1e6:.0f} MB, error {error:.1e}")

# %%
# Size on the left, the largest error of a logit on the right, as a share of the largest logit.
figure = Figure(figsize=(8, 2.8), layout="constrained")
left, right = figure.subplots(1, 2)
names, sizes, errors = zip(*rows)
left.barh(names, sizes)
left.set_xlabel("MB of weights")
right.barh(names[1:], errors[1:])
right.set_xscale("log")
right.set_xlabel("largest error of a logit")
left.invert_yaxis()
right.invert_yaxis()

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1])
