"""JetBot's collision avoidance: the probability that the way is blocked, from a camera frame.

The conventions are those of github.com/NVIDIA-AI-IOT/jetbot, ``notebooks/collision_avoidance/``: torchvision's AlexNet
with two classes (``train_model.ipynb``), 8-bit BGR frames normalized by the profile ``jetbot``, and the first value of
the softmax (``live_demo.ipynb``, ``preprocess`` and ``update``). There is one intentional difference: the notebook
never calls ``model.eval()``, so dropout stays on and the result for the same frame varies. Here dropout is off, as in
every fastalex network.
"""

from __future__ import annotations

import os
import re
from typing import Any, Mapping, Union

import numpy as np

from .errors import UserError
from .model import AlexNet
from .weights import resolve

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
        try:
            self.net = AlexNet("torchvision", weights=weights, profile="jetbot", **options)
        except UserError as error:
            raise _explained(error, weights) from None
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


def _explained(error: UserError, weights: Union[str, os.PathLike[str], Mapping[str, Any]]) -> UserError:
    """Return a sentence that names the network if ``weights`` are of a ResNet, otherwise ``error``."""
    try:
        loaded = resolve.load(weights)
    except UserError:
        return error
    # torchvision/models/resnet.py: ResNet-18 has two blocks in each layer, and only deeper networks have a conv3
    arrays = loaded.arrays if loaded else {}
    blocks = {name for name in arrays if re.fullmatch(r"layer[1-4]\.\d+\.conv1\.weight", name)}
    if "layer1.0.conv1.weight" not in blocks:
        return error
    two_each = {f"layer{layer}.{block}.conv1.weight" for layer in (1, 2, 3, 4) for block in (0, 1)}
    name = "ResNet-18" if blocks == two_each and "layer1.0.conv3.weight" not in arrays else "a ResNet"
    return UserError(
        f"{(loaded and loaded.path) or 'the mapping'} holds the weights of {name}, as JetBot's road following and its "
        "notebooks with resnet18 in their names train it; pass the best_model.pth of an AlexNet, from "
        "notebooks/collision_avoidance/train_model.ipynb"
    )
