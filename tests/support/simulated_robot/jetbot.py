"""The parts of JetBot's package that its live demo uses, for a machine without a robot.

The camera shows the pictures in the folder ``SIMULATED_CAMERA`` one after the other, the robot writes down what it is
told to do. Interfaces: github.com/NVIDIA-AI-IOT/jetbot (``jetbot/camera/``, ``jetbot/robot.py``, ``jetbot/image.py``).
"""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import traitlets
from PIL import Image
from traitlets.config.configurable import SingletonConfigurable


class Camera(SingletonConfigurable):
    value = traitlets.Any()
    width = traitlets.Integer(default_value=224).tag(config=True)
    height = traitlets.Integer(default_value=224).tag(config=True)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._paths = sorted(Path(os.environ["SIMULATED_CAMERA"]).glob("*.png"))
        self.value = self._read(self._paths[0])

    def _read(self, path):
        rgb = np.asarray(Image.open(path).convert("RGB").resize((self.width, self.height)))
        return np.ascontiguousarray(rgb[..., ::-1])

    def play(self):
        """Show each picture once; the real camera does so in a thread of its own."""
        for path in self._paths:
            self.value = self._read(path)

    def stop(self):
        pass


class Robot:
    def __init__(self):
        self.moves = []

    def forward(self, speed):
        self.moves.append("forward")

    def left(self, speed):
        self.moves.append("left")

    def stop(self):
        self.moves.append("stop")


def bgr8_to_jpeg(value, quality=75):
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(value[..., ::-1])).save(stream, "JPEG", quality=quality)
    return stream.getvalue()
