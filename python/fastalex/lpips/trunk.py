"""The convolutions of AlexNet as LPIPS uses them: no fully connected layer is loaded, any image size works."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Dict, List, Mapping, Sequence, Union

import numpy as np

from .. import _core
from .. import weights as weights_files
from .._util import arguments
from ..errors import UserError
from ..networks import taps, variants
from ..networks.layers import Layer, layer_table
from ..runtime import device_spec, native, precisions
from ..tuning import rules
from ..weights import adapt, initial, mappings, registry
from ..weights.readers import mapped
from .conventions import MODULES
from .geometry import Geometry

VARIANT = "torchvision"
LPIPS_PRECISIONS = ("fp32", "bf16", "fp16")
Given = Union[str, "os.PathLike[str]", Mapping[str, Any]]


class Trunk:
    """From scaled images to the five maps.

    :param given: a name or path of weights, a mapping of arrays, or ``"random"``. Fully connected weights in it are
        left alone.
    """

    def __init__(self, given: Given, device: str, precision: str, threads: int, exact: bool) -> None:
        row = variants.get(VARIANT)
        self.taps = taps.resolve(row, list(MODULES))
        self.layers = _until(row.layers(), self.taps[-1])
        self.channels = [layer.out_shape[0] for layer in self.layers if layer.name in self.taps]
        self.geometry = Geometry(self.layers, self.taps)
        self.threads = threads
        self.device = device_spec.choose(device)
        arguments.one_of("precision", precision, LPIPS_PRECISIONS)
        self.precision, fc_weights = precisions.resolve(self.device, precision, None)
        exact = device_spec.check_exact(self.device, exact)
        params = _parameters(given, self.layers)
        with mapped.reading_once(params.values()):
            self.digest = _digest(params)
            self.net = native.make(
                layer_table(self.layers),
                (row.channels, row.input_size, row.input_size),
                list(params.values()),
                self.device,
                self.precision,
                fc_weights,
                threads,
                rules.choose(self.device).text,
                exact,
            )
        self._names = list(params)

    def parameters(self) -> Dict[str, np.ndarray]:
        """Parameter name -> new float32 array."""
        shapes = {name: shape for layer in self.layers for name, shape in layer.param_shapes.items()}
        return {name: self.net.param(i).reshape(shapes[name]) for i, name in enumerate(self._names)}

    def maps(self, x: np.ndarray) -> List[np.ndarray]:
        """Float32 ``[N, C, h, w]`` of each tap, for scaled images ``[N, 3, H, W]`` in host memory."""
        found = self.net.run(_core.Call(np.ascontiguousarray(x), taps=self.taps))
        # a map of one position is given as [N, C]
        return [array if array.ndim == 4 else array[:, :, None, None] for array in found]


def load(given: Given) -> weights_files.Weights:
    """The weights that ``given`` means, a published file fetched where it is not here yet."""
    if isinstance(given, Mapping):
        return mappings.from_mapping(given)
    if not isinstance(given, (str, os.PathLike)):
        raise UserError(f"weights must be a path, a name or a mapping of arrays, not {type(given).__name__}")
    return weights_files.load(registry.locate(given))


def _digest(params: Mapping[str, np.ndarray]) -> str:
    """What the weights are, for telling whether features came from the same."""
    state = hashlib.blake2b(digest_size=16)
    for array in params.values():
        state.update(np.ascontiguousarray(array))
    return state.hexdigest()


def _until(layers: Sequence[Layer], last: str) -> List[Layer]:
    end = next(i for i, layer in enumerate(layers) if layer.name == last)
    return list(layers[: end + 1])


def _parameters(given: Given, layers: Sequence[Layer]) -> Dict[str, np.ndarray]:
    """Name -> float32 array, of the convolutions, in the order of the layers."""
    shapes = {name: shape for layer in layers for name, shape in layer.param_shapes.items()}
    if isinstance(given, str) and given == "random":
        return initial.random_arrays(shapes)
    return initial.check_shapes(shapes, adapt.convolutions(load(given), list(shapes)), "LPIPS with AlexNet")
