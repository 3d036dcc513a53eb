"""
See where the time goes: each layer beside its roofline
=======================================================

For each step of torchvision's AlexNet this script measures the median time and computes the least that this machine
could take: the slower of its arithmetic and of reading the weights. Random weights take as long as trained ones, but
for how many zeros the layers see.
"""

import sys

from fastalex import AlexNet
from fastalex.inspection import roofline
from fastalex.plot import charts

net = AlexNet("torchvision", weights="random")

# %%
# The two ceilings of a processor, its arithmetic and its memory, are measured too; those of a GPU are in ``devices/``.
# The figures are those of the machine that built this page: they are no benchmark.
times = roofline.measure(net, batch=1, repeat=5)
for row in times.rows:
    floor = "" if row.floor_ms is None else f"at least {row.floor_ms:.2f} ms"
    print(f"{', '.join(row.layers):32} {row.ms:6.2f} ms  {floor}")

# %%
# On the left the steps beside their floors, on the right the steps under the roofline.
figure = charts.roofline(times)

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1])
