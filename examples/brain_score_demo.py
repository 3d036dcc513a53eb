"""AlexNet as a Brain-Score model, computed by fastalex.

    python examples/brain_score_demo.py alexnet-owt-7be5be79.pth picture.png ... [--check]

``activations_model`` is what a Brain-Score plugin's ``get_model`` returns: brain-score/vision's
``ActivationsExtractorHelper`` around two functions, one that preprocesses the stimuli and one that returns activations
of layers by name. Without Brain-Score the script calls those two itself. ``--check`` compares with hooks in PyTorch.

In Brain-Score's own wrapper a hook keeps the tensor that torchvision's next ReLU then changes in place, so on a CPU a
layer before a ReLU (``features.10``) reads like the one after it. Here a name means the module's own result everywhere.
"""

from __future__ import annotations

import argparse
import collections
import sys
from typing import Any, Optional, Sequence

import numpy as np

from fastalex import AlexNet, UserError, images
from fastalex.networks import taps

TOOL = taps.TOOLS["brain-score"]
#: Tolerance relative to the largest activation: sums of up to 9216 products in float32, in another order; as in
#: tests/clients/test_readout.py.
TOLERANCE = 1e-4


class FastalexWrapper:
    """The two functions that Brain-Score asks for, and the network."""

    def __init__(self, net: AlexNet) -> None:
        self.net = net

    def preprocess(self, paths: Sequence[str]) -> np.ndarray:
        """Resize((224, 224)), ToTensor, Normalize: brainscore_vision's ``load_preprocess_images``."""
        return images.preprocess(list(paths), TOOL.profile, self.net.variant.input_size)

    def get_activations(self, batch: Any, layer_names: Sequence[str]) -> Any:
        """An OrderedDict: layer -> float32 ``[N, ...]``."""
        activations = self.net.taps(np.stack([np.asarray(image, np.float32) for image in batch]), list(layer_names))
        return collections.OrderedDict((name, activations[name]) for name in layer_names)


def activations_model(net: AlexNet, identifier: str = "alexnet") -> Any:
    """Return value of a plugin's ``get_model``. Needs brainscore_vision."""
    from brainscore_vision.model_helpers.activations.core import ActivationsExtractorHelper

    wrapper = FastalexWrapper(net)
    helper = ActivationsExtractorHelper(
        get_activations=wrapper.get_activations, preprocessing=wrapper.preprocess, identifier=identifier
    )
    helper.image_size = net.variant.input_size
    return helper


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Activations of Brain-Score's layers.")
    parser.add_argument("weights", help="a state dict of torchvision's alexnet")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--check", action="store_true", help="compare with hooks in PyTorch")
    options = parser.parse_args(argv)
    try:
        wrapper = FastalexWrapper(AlexNet(weights=options.weights, device="cpu"))
        batch = wrapper.preprocess(options.pictures)
        activations = wrapper.get_activations(batch, TOOL.layers)
    except UserError as error:
        print(f"brain_score_demo.py: {error}", file=sys.stderr)
        return 2
    theirs = {}
    if options.check:
        import torch

        import pytorch_alexnet

        model = pytorch_alexnet.load(options.weights, wrapper.net.variant.num_classes).eval()
        theirs = pytorch_alexnet.hooked(model, torch.from_numpy(batch), TOOL.layers)
    worst = 0.0
    for name, values in activations.items():
        said = f"{name}: {' x '.join(map(str, values.shape))}"
        if name in theirs:
            error = float(np.abs(theirs[name] - values).max() / np.abs(theirs[name]).max())
            worst = max(worst, error)
            said += f", largest difference from PyTorch {error:.1e} of the largest activation"
        print(said)
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
