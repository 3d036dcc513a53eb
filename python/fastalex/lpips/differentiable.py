"""The metric in PyTorch, for gradients: it has the layers, weights and convention of the engine's.

Gradients are finite for a map of zeros and for two equal images, because the square root of a sum of squares is not
taken at 0, where its derivative is infinite.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import UserError
from ..networks.torch_reference import pytorch
from . import inputs
from .conventions import Convention, affine
from .features import Features, Fingerprint
from .trunk import Trunk

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module as TorchModule

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class Spec(NamedTuple):
    """The options of a :class:`~fastalex.LPIPS` that its module has as well."""

    version: str
    convention: Convention
    spatial: bool
    reduction: Optional[str]
    range_check: str
    precision: str


def build(spec: Spec, trunk: Trunk, heads: Sequence[np.ndarray], fingerprint: Fingerprint) -> TorchModule:
    """Build the metric of ``trunk`` and ``heads`` as a module; see :meth:`fastalex.LPIPS.module`.

    :param heads: float32 ``[C]`` for each tapped layer.
    :param fingerprint: of the :class:`Features` that the module accepts.
    """
    return _classes()["Module"](spec, trunk, heads, fingerprint)


def unit_vectors(x: Tensor, eps: float, inside: bool) -> Tensor:
    """Normalize the channels of ``x`` ``[N, C, h, w]`` at each position, by a convention of :data:`CONVENTIONS`."""
    torch = pytorch()
    squares = x.square().sum(1, keepdim=True)
    if inside:
        return x * (squares + eps).rsqrt()
    present = squares > 0
    root = torch.where(present, squares, torch.ones_like(squares)).sqrt()
    return x / (torch.where(present, root, torch.zeros_like(root)) + eps)


@functools.lru_cache(maxsize=None)
def _classes() -> Any:
    torch = pytorch()
    functional = torch.nn.functional
    base: Any = torch.nn.Module

    class Module(base):
        """LPIPS as a module; its weights are buffers, so that no optimizer trains them."""

        def __init__(self, spec: Spec, trunk: Trunk, heads: Sequence[np.ndarray], fingerprint: Fingerprint) -> None:
            super().__init__()
            self.layers, self.taps, self.fingerprint = trunk.layers, set(trunk.taps), fingerprint
            self.geometry = trunk.geometry
            self.convention, self.version = spec.convention, spec.version
            self.spatial, self.reduction, self.range_check = spec.spatial, spec.reduction, spec.range_check
            self.dtype = getattr(torch, DTYPES[spec.precision])
            for name, array in trunk.parameters().items():
                self.register_buffer(name.replace(".", "_"), torch.from_numpy(array).to(self.dtype), persistent=False)
            for index, head in enumerate(heads):
                self.register_buffer(f"head{index}", torch.from_numpy(head).reshape(1, -1, 1, 1), persistent=False)

        def forward(
            self, in0: Any, in1: Any, retPerLayer: bool = False, normalize: Any = None
        ) -> Tensor | Tuple[Tensor, List[Tensor]]:
            unit_range = self.convention.unit_range if normalize is None else bool(normalize)
            sources = [self._read(x, what) for x, what in ((in0, "the first images"), (in1, "the second images"))]
            self._check(sources, unit_range)
            size = next(x.size if isinstance(x, Features) else tuple(x.shape[2:]) for x in sources)
            features = [self._features(x, unit_range) for x in sources]
            layers = []
            for index, (a, b) in enumerate(zip(*features)):
                # float32 under autocast as well, which lowers only convolutions and matrix products
                values = ((a - b).square() * getattr(self, f"head{index}")).sum(1, keepdim=True)
                layers.append(self._pooled(values, size))
            value, layers = self._reduced(sum(layers)), [self._reduced(layer) for layer in layers]
            return (value, layers) if retPerLayer else value

        def _read(self, x: Any, what: str) -> Any:
            if isinstance(x, Features):
                if x.fingerprint != self.fingerprint:
                    raise UserError("these features come from another metric; compute them with this one")
                return x
            if not inputs.is_tensor(x):
                x = torch.from_numpy(np.array(inputs.read(x, what))).to(self.head0.device)
            if not x.dtype.is_floating_point and x.dtype != torch.uint8:
                raise UserError(f"{what} must hold floating-point numbers or uint8, not {x.dtype}")
            if x.ndim == 3 and x.shape[0] in (1, 3):
                x = x[None]
            inputs.check_shape(x.shape, what)
            self.geometry.check(int(x.shape[2]), int(x.shape[3]))
            return x

        def _check(self, sources: Sequence[Any], unit_range: bool) -> None:
            sizes = [x.size if isinstance(x, Features) else tuple(x.shape[2:]) for x in sources]
            counts = [len(x) for x in sources]
            if sizes[0] != sizes[1]:
                raise UserError(inputs.different_sizes(*sizes))
            if counts[0] != counts[1] and 1 not in counts:
                raise UserError(f"{counts[0]} images cannot be paired with {counts[1]}; use matrix for all pairs")
            floats = [x.detach() for x in sources if inputs.is_tensor(x) and x.dtype.is_floating_point]
            if self.range_check != "off" and floats:
                extremes = min(float(x.min()) for x in floats), max(float(x.max()) for x in floats)
                inputs.guard(extremes, unit_range, self.range_check)

        def _features(self, x: Any, unit_range: bool) -> List[Tensor]:
            if isinstance(x, Features):
                return [torch.from_numpy(np.array(array)).to(self.head0.device) for array in x.maps]
            factor, offset = affine(self.version, unit_range, x.dtype == torch.uint8)
            wide = torch.float64 if x.dtype == torch.float64 and self.head0.dtype == torch.float64 else torch.float32
            scale, shift = (torch.from_numpy(v).to(x.device, wide).reshape(1, 3, 1, 1) for v in (factor, offset))
            return [
                unit_vectors(features.to(wide), self.convention.eps, self.convention.inside)
                for features in self._maps(x.to(wide) * scale + shift)
            ]

        def _maps(self, x: Tensor) -> List[Tensor]:
            maps = []
            x = x.to(self.features_0_weight.dtype)
            for layer in self.layers:
                x = self._layer(layer, x)
                if layer.name in self.taps:
                    maps.append(x)
            return maps

        def _layer(self, layer: Any, x: Tensor) -> Tensor:
            options = layer.options
            if layer.op == "conv":
                names = [(layer.param + leaf).replace(".", "_") for leaf in (".weight", ".bias")]
                return functional.conv2d(
                    x,
                    *(getattr(self, name) for name in names),
                    stride=options["stride"],
                    padding=options["pad"],
                    groups=options["groups"],
                )
            if layer.op == "relu":
                return functional.relu(x)
            return functional.max_pool2d(x, options["kernel"], options["stride"])

        def _pooled(self, values: Tensor, size: Tuple[int, int]) -> Tensor:
            if self.spatial:
                return functional.interpolate(values, size, mode="bilinear", align_corners=False)
            return values.mean((2, 3), keepdim=True)

        def _reduced(self, values: Tensor) -> Tensor:
            return getattr(values, self.reduction)() if self.reduction else values

    Module.__qualname__ = "Module"  # where pickle looks for it
    return {"Module": Module}


def __getattr__(name: str) -> Any:
    """Find the class that is made at its first use, for pickle."""
    if name == "Module":
        return _classes()[name]
    raise AttributeError(name)
