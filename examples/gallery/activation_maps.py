"""
Draw what each unit of a layer sees
===================================

``net.taps`` reads the result of any layer for an image. This script draws the maps of conv2, one for each of its units,
and then one unit beside the picture.
"""

import sys
from pathlib import Path

from fastalex import AlexNet
from fastalex.inspection import maps, pictures
from fastalex.plot import maps as drawn

IMAGE = Path(sys.argv[0]).resolve().parents[1] / "digits" / "digit-3-sample-0003.png"
net = AlexNet(weights="digits")

# %%
# The network runs no further than the last layer that is asked for.
found = net.taps(str(IMAGE), ["conv2", "fc7"])
print({name: values.shape for name, values in found.items()})

# %%
# All units on one scale, from the lowest value of the layer to its highest.
values = maps.values(net, str(IMAGE), "conv2")
figure = drawn.maps(values, "conv2")

# %%
# The unit with the largest value, beside the part of the picture that the network sees.
unit = int(values.reshape(len(values), -1).max(axis=1).argmax())
figure_of_unit = drawn.one_map(pictures.input_picture(net, str(IMAGE)), values[unit], "conv2", unit)

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1])
