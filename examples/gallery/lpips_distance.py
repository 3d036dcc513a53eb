"""
Measure how different two images look: LPIPS without PyTorch
============================================================

LPIPS compares the features that AlexNet has of two images. This script damages a picture in four ways and shows where,
and how much, the damage is seen.

The published weights are a download, so random convolutions stand in here, with all channels weighted alike. That is
enough to see the method at work; for figures that mean something write ``LPIPS(net="alex")``.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageFilter

from fastalex import LPIPS

IMAGE = Path(sys.argv[0]).resolve().parents[1] / "digits" / "digit-8-sample-0053.png"
original = Image.open(IMAGE).convert("RGB").resize((128, 128), Image.BICUBIC)
pixels = np.asarray(original)
noise = np.random.default_rng(0).normal(0, 25, pixels.shape)
covered = pixels.copy()
covered[40:72, 40:72] = 128
damaged = {
    "noise": np.clip(pixels + noise, 0, 255).astype(np.uint8),
    "blur": np.asarray(original.filter(ImageFilter.GaussianBlur(3))),
    "moved by 4 pixels": np.roll(pixels, 4, axis=1),
    "covered": covered,
}

# %%
# ``spatial=True`` gives a distance for each pixel; without it, their mean. uint8 images are taken as they are.
metric = LPIPS(net="alex", weights="random", lpips=False, spatial=True)


def planes(image):
    return np.ascontiguousarray(image.transpose(2, 0, 1))[None]


where = {name: metric(planes(pixels), planes(image))[0, 0] for name, image in damaged.items()}
for name, distance in where.items():
    print(f"{name}: {distance.mean():.4f}")

# %%
# Above the images, below where they differ: the brighter, the more.
figure = Figure(figsize=(9, 4.6), layout="constrained")
rows = figure.subplots(2, len(damaged))
largest = max(distance.max() for distance in where.values())
for (above, below), (name, image) in zip(rows.T, damaged.items()):
    above.imshow(image)
    above.set_title(f"{name}: {where[name].mean():.3f}")
    below.imshow(where[name], vmin=0, vmax=largest)
    above.set_axis_off()
    below.set_axis_off()

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1])
