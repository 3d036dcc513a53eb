"""
Draw the filters of the first layer
===================================

The kernels of conv1 are small pictures: figure 3 of the 2012 paper. That network had two columns, each on a graphics
card of its own, and so has the small one that comes with fastalex: its filters are drawn a column at a time.
"""

import sys

from fastalex import AlexNet
from fastalex.inspection import filters
from fastalex.plot import maps

net = AlexNet(weights="digits")
columns = filters.filters(net)
print(f"{len(columns)} columns of {len(columns[0])} filters of {columns[0].shape[1]} x {columns[0].shape[2]} pixels")

# %%
# Zero is gray, and each filter is scaled by its own largest weight. A short training on gray digits leaves most of
# the random start to be seen. ``AlexNet.from_pretrained("torchvision")`` has the edges and colors of the figure.
figure = maps.filters(columns)

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1])
