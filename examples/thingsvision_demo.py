"""Activations as thingsvision extracts them, and next to hooks in PyTorch.

    python examples/thingsvision_demo.py alexnet-owt-7be5be79.pth FOLDER --modules features.10 classifier.4 [--check]

With thingsvision, ``get_extractor`` is the one import that changes; its ImageDataset and DataLoader go on working.
``--check`` needs PyTorch. It exits with 1 if an activation differs by more than the roundings of float32 explain.
"""

from __future__ import annotations

import argparse
import sys
from typing import Optional, Sequence

import numpy as np

from fastalex import UserError
from fastalex.extractor import get_extractor

#: Tolerance relative to the largest activation: sums of up to 9216 products in float32, in another order; as in
#: tests/clients/test_readout.py.
TOLERANCE = 1e-4


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Extract activations of a folder of images.")
    parser.add_argument("weights", help="a state dict of torchvision's alexnet")
    parser.add_argument("folder", help="images, in it and below it")
    parser.add_argument("--modules", nargs="+", default=["features.10", "classifier.4"], help="names of modules")
    parser.add_argument("--check", action="store_true", help="compare with hooks in PyTorch")
    options = parser.parse_args(argv)
    try:
        extractor = get_extractor("alexnet", True, "cpu", "torchvision", model_path=options.weights)
        batches = extractor.batches(options.folder, batch_size=8)
        features = extractor.extract_features(batches, module_names=options.modules)
    except UserError as error:
        print(f"thingsvision_demo.py: {error}", file=sys.stderr)
        return 2
    for name, values in features.items():
        print(f"{name}: {' x '.join(map(str, values.shape))}, mean {values.mean():.4f}")
    if not options.check:
        return 0
    import torch

    import pytorch_alexnet

    model = pytorch_alexnet.load(options.weights, extractor.model.variant.num_classes).eval()
    parts = [pytorch_alexnet.hooked(model, torch.from_numpy(batch), options.modules) for batch in batches]
    worst = 0.0
    for name, values in features.items():
        theirs = np.concatenate([part[name] for part in parts])
        error = float(np.abs(theirs - values).max() / np.abs(theirs).max())
        worst = max(worst, error)
        print(f"{name}: largest difference from PyTorch {error:.1e} of the largest activation")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
