"""JetBot's collision avoidance on pictures, and next to the notebook's own PyTorch code.

    python examples/jetbot_demo.py best_model.pth picture.png ...           # blocked or free
    python examples/jetbot_demo.py best_model.pth picture.png ... --check   # and what the live demo's code says

``--check`` needs PyTorch. It exits with 1 if a decision differs. On the robot: examples/jetbot_live_demo.ipynb.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Optional, Sequence

import numpy as np

from fastalex import UserError, images
from fastalex.jetbot import CollisionAvoidance

SIDE = 224  # side of the frames from JetBot's camera


def frame_of(path: str) -> np.ndarray:
    """A picture as JetBot's camera would deliver it: uint8 ``[224, 224, 3]``, blue, green, red.

    Others are stretched, as by the ``cv2.resize`` of notebooks/object_following/live_demo.ipynb.
    """
    picture = np.rint(images.linear_resize(np.asarray(images.open_image(path)), SIDE, SIDE)).astype(np.uint8)
    return np.ascontiguousarray(picture[..., ::-1])


def original(model: Any, frame: np.ndarray) -> float:
    """The probability by the steps of notebooks/collision_avoidance/live_demo.ipynb, with dropout off."""
    import torch

    mean = 255.0 * np.array([0.485, 0.456, 0.406])
    stdev = 255.0 * np.array([0.229, 0.224, 0.225])
    x = frame[..., ::-1].transpose((2, 0, 1))
    x = torch.from_numpy(x.copy()).float()
    x = (x - torch.tensor(mean).float()[:, None, None]) / torch.tensor(stdev).float()[:, None, None]
    y = torch.softmax(model(x[None]), dim=1)
    return float(y.detach().flatten()[0])


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Is the way blocked?")
    parser.add_argument("weights", help="the best_model.pth of JetBot's training notebook")
    parser.add_argument("pictures", nargs="+", help="pictures of what the camera sees")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--check", action="store_true", help="compare with the notebook's code in PyTorch")
    options = parser.parse_args(argv)
    try:
        avoid = CollisionAvoidance(options.weights, device=options.device)
        frames = [frame_of(path) for path in options.pictures]
    except UserError as error:
        print(f"jetbot_demo.py: {error}", file=sys.stderr)
        return 2
    model = None
    if options.check:
        import pytorch_alexnet

        model = pytorch_alexnet.load(options.weights, num_classes=2).eval()
    differ = False
    for path, frame in zip(options.pictures, frames):
        blocked = avoid(frame)
        said = f"{path}: {'free' if blocked < 0.5 else 'blocked'}, blocked {blocked:.4f}"
        if model is not None:
            theirs = original(model, frame)
            differ = differ or (theirs < 0.5) != (blocked < 0.5)
            said += f", PyTorch {theirs:.4f}, difference {abs(theirs - blocked):.1e}"
        print(said)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
