"""
Count the zeros behind each ReLU
================================

Behind a ReLU many values are zero, and a weight that meets a zero need not be read: at batch 1 that saves much of the
time of the fully connected layers. How many zeros there are depends on the weights and the images.
"""

import sys
from pathlib import Path

from fastalex import AlexNet, density
from fastalex.inspection import zeros
from fastalex.plot import charts

images = sorted(str(path) for path in (Path(sys.argv[0]).resolve().parents[1] / "digits").glob("*.png"))
net = AlexNet(weights="digits")

# %%
# The share of the inputs of each fully connected layer that is not zero; ``fastalex summary --density`` prints it.
print(density.in_words(density.means(density.measure(net, net.preprocess(images)))))

# %%
# The share of all layers' results that is not zero.
figure = charts.density(zeros.zeros(net, images))

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1])
