"""JetBot's collision avoidance: from a camera's frame to the probability that the way is blocked.

The conventions are those of github.com/NVIDIA-AI-IOT/jetbot, ``notebooks/collision_avoidance/``: torchvision's AlexNet
with two classes (``train_model.ipynb``), frames of 8-bit blue, green, red that the profile ``jetbot`` normalizes, and
the softmax's first value (``live_demo.ipynb``, ``preprocess`` and ``update``). One thing differs on purpose: that
notebook never calls ``model.eval()``, so its dropout stays on and the same frame gives another answer each time. Here
dropout is off, as in every fastalex network.
"""

from __future__ import annotations

import os
from typing import Any, Mapping, Union

import numpy as np

from .errors import UserError
from .model import AlexNet

#: The classes are the folders ``blocked`` and ``free``, which torchvision's ImageFolder sorts by name.
LABELS = ("blocked", "free")
BLOCKED = LABELS.index("blocked")


class CollisionAvoidance:
    """``CollisionAvoidance("best_model.pth")(frame)`` is the probability that the robot is blocked.

    :param weights: the ``best_model.pth`` that JetBot's training notebook saved, or any other file or mapping that
        :class:`~fastalex.AlexNet` takes, for torchvision's network with two classes.
    :param options: what :class:`~fastalex.AlexNet` takes besides: ``device``, ``precision``, ``fc_weights``,
        ``threads``, ...
    :raises UserError: for weights that are not there or not of such a network.

    It may be called from several threads at once, like the network itself, which is :attr:`net`.
    """

    def __init__(self, weights: Union[str, os.PathLike, Mapping[str, Any]], **options: Any) -> None:
        if weights is None or (isinstance(weights, str) and weights == "random"):
            raise UserError("give the best_model.pth that JetBot's training notebook wrote")
        self.net = AlexNet("torchvision", weights=weights, profile="jetbot", **options)
        classes = self.net.variant.num_classes
        if classes != len(LABELS):
            raise UserError(f"collision avoidance has the classes {' and '.join(LABELS)}; these weights have {classes}")
        self.net.labels = list(LABELS)

    def __call__(self, frame: Any, order: str = "BGR", stream: Any = None) -> float:
        """The probability, from 0 to 1, that the way is blocked.

        :param frame: uint8 ``[H, W, 3]``, as the camera delivers it; JetBot's is 224 x 224, others are stretched to
            that. numpy, or an array on the net's GPU.
        :param order: ``"BGR"``, as OpenCV and JetBot's cameras have the colors, or ``"RGB"``.
        :param stream: for a frame on the GPU, as for :meth:`AlexNet.run_frame`.
        :raises UserError: for what is no such frame.
        """
        chances = self.net.run_frame(
            frame, order, softmax=True, out=np.empty((1, len(LABELS)), np.float32), stream=stream
        )
        return float(chances[0, BLOCKED])
