"""JetBot's collision avoidance: the probability that the way is blocked, from a camera frame.

The conventions are those of github.com/NVIDIA-AI-IOT/jetbot, ``notebooks/collision_avoidance/``: torchvision's AlexNet
with two classes (``train_model.ipynb``), 8-bit BGR frames normalized by the profile ``jetbot``, and the first value of
the softmax (``live_demo.ipynb``, ``preprocess`` and ``update``). There is one intentional difference: the notebook
never calls ``model.eval()``, so dropout stays on and the result for the same frame varies. Here dropout is off, as in
every fastalex network.
"""

from __future__ import annotations

import os
from typing import Any, Mapping, Union

import numpy as np

from .errors import UserError
from .model import AlexNet

#: The classes in the order of torchvision's ImageFolder, which sorts the folders ``blocked`` and ``free`` by name.
LABELS = ("blocked", "free")
BLOCKED = LABELS.index("blocked")


class CollisionAvoidance:
    """A callable: ``CollisionAvoidance("best_model.pth")(frame)`` is the probability that the robot is blocked.

    It may be called from several threads at once, like its network, :attr:`net`.

    :param weights: the ``best_model.pth`` saved by JetBot's training notebook, or any other file or mapping that
        :class:`~fastalex.AlexNet` accepts, for torchvision's network with two classes.
    :param options: further arguments of :class:`~fastalex.AlexNet`, such as ``device``, ``precision``, ``fc_weights``
        and ``threads``.
    :raises UserError: if the weights are missing, or belong to another network.
    """

    def __init__(self, weights: Union[str, os.PathLike[str], Mapping[str, Any]], **options: Any) -> None:
        if weights is None or (isinstance(weights, str) and weights == "random"):
            raise UserError("pass the best_model.pth that JetBot's training notebook saved")
        self.net = AlexNet("torchvision", weights=weights, profile="jetbot", **options)
        classes = self.net.variant.num_classes
        if classes != len(LABELS):
            raise UserError(f"collision avoidance has the classes {' and '.join(LABELS)}; these weights have {classes}")
        self.net.labels = list(LABELS)

    def __call__(self, frame: Any, order: str = "BGR", stream: Any = None) -> float:
        """Return the probability, from 0 to 1, that the way is blocked.

        :param frame: uint8 ``[H, W, 3]``, a numpy array or an array on the network's GPU. Frames of another size than
            JetBot's 224 x 224 are stretched to it.
        :param order: order of the colors, ``"BGR"``, as in OpenCV and JetBot's cameras, or ``"RGB"``.
        :param stream: for a frame on the GPU, as for :meth:`AlexNet.run_frame`.
        :raises UserError: for an invalid frame.
        """
        probabilities = self.net.run_frame(
            frame, order, softmax=True, out=np.empty((1, len(LABELS)), np.float32), stream=stream
        )
        return float(probabilities[0, BLOCKED])
