"""
Ask why: Grad-CAM and occlusion
===============================

Two answers to the question which part of a picture made the network decide as it did. Grad-CAM weights the maps of
conv5 by how much the score of the class depends on them. Occlusion covers the picture with a gray patch, at one place
after the other, and looks how far the probability of the class falls.
"""

import sys
from pathlib import Path

from fastalex import AlexNet
from fastalex.inspection import gradcam, occlusion, pictures
from fastalex.plot import maps

IMAGE = str(Path(sys.argv[0]).resolve().parents[1] / "digits" / "digit-5-sample-0145.png")
net = AlexNet(weights="digits")
picture = pictures.input_picture(net, IMAGE)

# %%
# Grad-CAM needs one run of the network, and a pass back through its last layers.
cam = gradcam.gradcam(net, IMAGE)
figure = maps.gradcam(picture, cam, f"class {cam.index}")

# %%
# Occlusion needs a run for each place; they are computed in batches.
covered = occlusion.occlusion(net, IMAGE, places=13)
print(f"probability of the whole picture: {covered.whole:.3f}, lowest under the patch: {covered.probability.min():.3f}")
figure_of_occlusion = maps.occlusion(picture, covered, f"class {covered.index}")

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1])
