"""
Classify images and draw the five best classes
==============================================

The network that comes with fastalex reads handwritten digits. This script classifies four that it was not trained on,
and draws each above its five most probable classes, as figure 4 of the 2012 paper does.
"""

import sys
from pathlib import Path

from fastalex import AlexNet
from fastalex.inspection import pictures, top5
from fastalex.plot import charts

DIGITS = Path(sys.argv[0]).resolve().parents[1] / "digits"
NAMES = ("3-sample-0003", "5-sample-0145", "7-sample-0007", "8-sample-0038")

# %%
# A path, an address, a PIL image, bytes or an array: each is prepared as the network was trained.
net = AlexNet(weights="digits")
images = [str(DIGITS / f"digit-{name}.png") for name in NAMES]
for image in images:
    best = net.classify(image, topk=1)[0]
    print(f"{Path(image).name}: {best.label} with probability {best.probability:.3f}")

# %%
# The same as a figure. ``fastalex plot top5 top5.pdf IMAGE...`` draws it from the command line.
ranked = top5.predictions(net, images)
figure = charts.top5([(path, pictures.input_picture(net, path), found) for path, found in zip(images, ranked)])

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1])
