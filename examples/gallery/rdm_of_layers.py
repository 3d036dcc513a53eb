"""
Compare layers by dissimilarity matrices (RDMs)
===============================================

A representational dissimilarity matrix says how far apart a layer puts each pair of images. Early layers of the digits
network see pixels; in the late ones the digits of a kind lie together, which shows as dark blocks on the diagonal.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fastalex import AlexNet, rdm

LAYERS = ("conv1", "conv5", "fc7")
images = sorted(str(path) for path in (Path(sys.argv[0]).resolve().parents[1] / "digits").glob("*.png"))
net = AlexNet(weights="digits")

# %%
# One matrix for each layer, of 1 minus the correlation of Pearson. The files are sorted by digit, two of each.
rows = net.taps(images, LAYERS)
matrices = {layer: rdm.compute(rows[layer].reshape(len(images), -1), metric="pearson") for layer in LAYERS}

figure = Figure(figsize=(9, 3.2), layout="constrained")
for axes, (layer, matrix) in zip(figure.subplots(1, len(LAYERS)), matrices.items()):
    drawn = axes.imshow(matrix, vmin=0, vmax=1.5)
    axes.set_title(layer)
    axes.set_xticks(np.arange(0.5, len(images), 2), range(10))
    axes.set_yticks(np.arange(0.5, len(images), 2), range(10))
figure.colorbar(drawn, ax=figure.axes, label="1 - r")

# %%
# How alike two layers are: the rank correlation of their matrices, with the interval of a bootstrap over the images.
pairs = np.triu_indices(len(images), 1)
kept = {layer: rdm.Rdm(layer, np.float64(matrices[layer][pairs]), len(images), images, {}) for layer in LAYERS}
for layer in LAYERS[1:]:
    found = rdm.compare(kept["conv1"], kept[layer], method="spearman", bootstrap=200, seed=1)
    print(f"conv1 and {layer}: {found['similarity']:.2f}, from {found['low']:.2f} to {found['high']:.2f}")

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1])
