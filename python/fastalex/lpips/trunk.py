"""The convolutions of AlexNet for LPIPS, without fully connected layers and for any image size."""

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
WeightsSource = Union[str, "os.PathLike[str]", Mapping[str, Any]]


class Trunk:
    """The part of the network that computes the five maps of scaled images.

    :param source: a name or path of weights, a mapping of arrays, or ``"random"``. Fully connected weights in it are
        ignored.
    """

    def __init__(self, source: WeightsSource, device: str, precision: str, threads: int, exact: bool) -> None:
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
        params = _parameters(source, self.layers)
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
        """Return the parameters: name -> new float32 array."""
        shapes = {name: shape for layer in self.layers for name, shape in layer.param_shapes.items()}
        return {name: self.net.param(i).reshape(shapes[name]) for i, name in enumerate(self._names)}

    def maps(self, x: np.ndarray) -> List[np.ndarray]:
        """Compute the taps, float32 ``[N, C, h, w]`` each, of scaled images ``[N, 3, H, W]`` in host memory."""
        maps = self.net.run(_core.Call(np.ascontiguousarray(x), taps=self.taps))
        # The engine returns a map with a single position as [N, C].
        return [array if array.ndim == 4 else array[:, :, None, None] for array in maps]


def load(source: WeightsSource) -> weights_files.Weights:
    """Load the weights ``source``; a published file is downloaded if necessary.

    :raises UserError: if there are no such weights.
    """
    if isinstance(source, Mapping):
        return mappings.from_mapping(source)
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(f"weights must be a path, a name or a mapping of arrays, not {type(source).__name__}")
    return weights_files.load(registry.locate(source))


def _digest(params: Mapping[str, np.ndarray]) -> str:
    """Return a hash of the weights, to tell whether features were computed with the same ones."""
    state = hashlib.blake2b(digest_size=16)
    for array in params.values():
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def _until(layers: Sequence[Layer], last: str) -> List[Layer]:
    end = next(i for i, layer in enumerate(layers) if layer.name == last)
    return list(layers[: end + 1])


def _parameters(source: WeightsSource, layers: Sequence[Layer]) -> Dict[str, np.ndarray]:
    """Return the parameters of the convolutions, name -> float32 array, in the order of the layers."""
    shapes = {name: shape for layer in layers for name, shape in layer.param_shapes.items()}
    if isinstance(source, str) and source == "random":
        return initial.random_arrays(shapes)
    return initial.check_shapes(shapes, adapt.convolutions(load(source), list(shapes)), "LPIPS with AlexNet")
