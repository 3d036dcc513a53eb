"""JetBot's own way from a frame to a probability, in PyTorch, with torchvision's network: the reference of comparisons.

The network is torchvision's ``alexnet`` (torchvision/models/alexnet.py; torchvision itself has no build for the PyTorch
of the tests), the preprocessing is ``preprocess`` of JetBot's notebooks/collision_avoidance/live_demo.ipynb, step by
step, with torchvision's Normalize written out (``tensor.sub_(mean).div_(std)``).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn


class OriginalAlexNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def preprocess(camera_value, dtype=torch.float32):
    mean = torch.as_tensor(255.0 * np.array([0.485, 0.456, 0.406]), dtype=dtype)
    stdev = torch.as_tensor(255.0 * np.array([0.229, 0.224, 0.225]), dtype=dtype)
    x = cv2.cvtColor(camera_value, cv2.COLOR_BGR2RGB)
    x = x.transpose((2, 0, 1))
    x = torch.from_numpy(x).to(dtype)
    x = x.sub_(mean[:, None, None]).div_(stdev[:, None, None])
    return x[None, ...]


def blocked(model, camera_value, dtype=torch.float32):
    """``prob_blocked`` of the notebook's ``update``."""
    with torch.no_grad():
        y = torch.softmax(model(preprocess(camera_value, dtype)), dim=1)
    return float(y.flatten()[0])


def frames(count=6, height=224, width=224):
    """Pictures as a camera delivers them, uint8 [H, W, 3]: patches of color, blurred, with noise."""
    rng = np.random.default_rng(3)
    made = []
    for _ in range(count):
        patches = rng.uniform(-60, 320, (rng.integers(2, 9), rng.integers(2, 9), 3)).astype(np.float32)
        picture = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
        made.append(np.clip(picture + rng.normal(0, 10, picture.shape), 0, 255).astype(np.uint8))
    return made


def trained(seed=0):
    """A network as the training notebook leaves it, with random weights that tell :func:`frames` apart."""
    torch.manual_seed(seed)
    model = OriginalAlexNet(2).eval()
    last = model.classifier[6]
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.weight *= 6**0.5  # He's bound instead of PyTorch's, so that the signal stays alive
        outputs = torch.cat([model(preprocess(frame)) for frame in frames()])
        contrast = (outputs - last.bias).diff(dim=1)
        last.weight /= contrast.std() / 2
        last.bias[:] = torch.tensor([1.0, 0.0]) * (contrast.mean() / (contrast.std() / 2))
    return model
