#!/usr/bin/env python3
"""Write the input of examples/cpp/classify.cpp: a network and one preprocessed image, for programs without Python.

python examples/cpp/export.py --weights digits examples/digits/digit-3-*.png --output out
build/classify out
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import List, Optional

import numpy as np

from fastalex import AlexNet, UserError
from fastalex.networks.layers import layer_table


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--weights", required=True, help="a weights file, or 'digits'")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    options = parser.parse_args(argv)
    try:
        net = AlexNet(weights=options.weights, device="cpu")
        image = net.preprocess(options.image)
    except UserError as error:
        print(f"export.py: {error}", file=sys.stderr)
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "network.txt").write_text(layer_table(net.variant.layers()))
    (options.output / "shape.txt").write_text("%d %d %d\n" % image.shape[1:])
    (options.output / "labels.txt").write_text("\n".join(net.labels or map(str, range(net.variant.num_classes))) + "\n")
    (options.output / "image.f32").write_bytes(image.tobytes())
    with open(options.output / "weights.f32", "wb") as stream:
        for array in net.state_dict().values():
            stream.write(np.ascontiguousarray(array).tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
