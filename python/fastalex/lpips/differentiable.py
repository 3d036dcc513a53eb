"""The metric as a PyTorch module, with the weights, the convention and the submodules' names of the package lpips.

Gradients are finite for a map of zeros and for two equal images, because the square root of a sum of squares is not
taken at 0, where its derivative is infinite. Importing this imports PyTorch.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UserError
from ..networks.layers import Layer
from . import inputs
from .conventions import SCALE, SHIFT, Convention
from .features import Features, Fingerprint
from .trunk import Trunk

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_Base: Any = nn.Module


class Spec(NamedTuple):
    """The options of a :class:`~fastalex.LPIPS` that its module has as well."""

    version: str
    convention: Convention
    spatial: bool
    reduction: Optional[str]
    range_check: str
    precision: str
    lpips: bool


class Maps(NamedTuple):
    """The results of :class:`Net`, ``[N, C, h, w]`` each, under the names of lpips/pretrained_networks.py."""

    relu1: Tensor
    relu2: Tensor
    relu3: Tensor
    relu4: Tensor
    relu5: Tensor


def unit_vectors(x: Tensor, eps: float, inside: bool) -> Tensor:
    """Normalize the channels of ``x`` ``[N, C, h, w]`` at each position, by a convention of :data:`CONVENTIONS`."""
    squares = x.square().sum(1, keepdim=True)
    if inside:
        return x * (squares + eps).rsqrt()
    present = squares > 0
    root = torch.where(present, squares, torch.ones_like(squares)).sqrt()
    return x / (torch.where(present, root, torch.zeros_like(root)) + eps)


class ScalingLayer(_Base):
    """Shifts and scales images in [-1, 1] to the network's input, in the precision of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(SHIFT)[None, :, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[None, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Scale images ``[N, 3, H, W]``."""
        return (x - self.shift.to(x.dtype)) / self.scale.to(x.dtype)


class Net(_Base):
    """The convolutions, in slices that end where features are compared, as in lpips/pretrained_networks.py."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        parameters = trunk.parameters()
        slices = [nn.Sequential()]
        for index, layer in enumerate(trunk.layers):
            slices[-1].add_module(str(index), _module_of(layer, parameters))
            if layer.name in trunk.taps[:-1]:
                slices.append(nn.Sequential())
        for number, part in enumerate(slices, start=1):
            self.add_module(f"slice{number}", part)

    def forward(self, x: Tensor) -> Maps:
        """Return the maps of scaled images ``[N, 3, H, W]``."""
        maps = []
        for part in self.children():
            x = part(x)
            maps.append(x)
        return Maps(*maps)


def _module_of(layer: Layer, parameters: Dict[str, np.ndarray]) -> Any:
    options = layer.options
    if layer.op == "relu":
        return nn.ReLU()
    if layer.op != "conv":
        return nn.MaxPool2d(options["kernel"], options["stride"])
    weight, bias = (torch.from_numpy(parameters[layer.param + leaf]) for leaf in (".weight", ".bias"))
    count, channels, *kernel = weight.shape
    shape = {"stride": options["stride"], "padding": options["pad"], "groups": options["groups"]}
    made = nn.Conv2d(channels * options["groups"], count, tuple(kernel), **shape)
    made.weight, made.bias = nn.Parameter(weight), nn.Parameter(bias)
    return made


class Weighting(nn.Conv2d):  # type: ignore[misc, unused-ignore]
    """A convolution of 1 x 1 to one channel in the precision of its input, which autocast does not lower."""

    def __init__(self, head: np.ndarray) -> None:
        super().__init__(len(head), 1, 1, bias=False)
        self.weight = nn.Parameter(torch.tensor(head).reshape(1, -1, 1, 1))  # a copy

    def forward(self, x: Tensor) -> Tensor:
        """Sum up the weighted channels of ``[N, C, h, w]``."""
        return (x * self.weight.to(x.dtype)).sum(1, keepdim=True)


class NetLinLayer(_Base):
    """The linear head of a layer, under the name that it has in lpips/lpips.py, where a dropout comes first."""

    def __init__(self, head: np.ndarray) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), Weighting(head))

    def forward(self, x: Tensor) -> Tensor:
        """Return the distances ``[N, 1, h, w]`` for squared differences ``[N, C, h, w]``."""
        return self.model(x)


class Module(_Base):
    """LPIPS as a module; see :meth:`fastalex.LPIPS.module`.

    :param heads: float32 ``[C]`` for each tapped layer.
    :param fingerprint: of the :class:`Features` that the module accepts.
    """

    def __init__(self, spec: Spec, trunk: Trunk, heads: Sequence[np.ndarray], fingerprint: Fingerprint) -> None:
        super().__init__()
        self.geometry = trunk.geometry
        self.fingerprint: Optional[Fingerprint] = fingerprint
        self.convention, self.version, self.lpips = spec.convention, spec.version, spec.lpips
        self.spatial, self.reduction, self.range_check = spec.spatial, spec.reduction, spec.range_check
        self.scaling_layer = ScalingLayer()
        with torch.random.fork_rng(devices=()):  # PyTorch's layers draw random weights, which are replaced
            self.net = Net(trunk).to(DTYPES[spec.precision])
            layers = [NetLinLayer(head) for head in heads] if spec.lpips else []
        if spec.lpips:
            for index, layer in enumerate(layers):
                self.add_module(f"lin{index}", layer)
            self.lins = nn.ModuleList(layers)  # the same under a second name, as in lpips/lpips.py
        self.requires_grad_(False)

    def forward(
        self, in0: Any, in1: Any, retPerLayer: bool = False, normalize: Optional[bool] = None
    ) -> Union[Tensor, Tuple[Tensor, List[Tensor]]]:
        """Compute distances, as :meth:`fastalex.LPIPS.__call__` does."""
        unit_range = self.convention.unit_range if normalize is None else bool(normalize)
        sources = [self._read(x, what) for x, what in ((in0, "the first images"), (in1, "the second images"))]
        self._check(sources, unit_range)
        size = next(x.size if isinstance(x, Features) else tuple(x.shape[2:]) for x in sources)
        features = [self._features(x, unit_range) for x in sources]
        layers = []
        for index, (a, b) in enumerate(zip(*features)):
            # float32 under autocast as well, which lowers only convolutions and matrix products
            squares = (a - b).square()
            layers.append(self._pooled(self.lins[index](squares) if self.lpips else squares.sum(1, keepdim=True), size))
        value, layers = self._reduced(sum(layers)), [self._reduced(layer) for layer in layers]
        return (value, layers) if retPerLayer else value

    def _read(self, x: Any, what: str) -> Any:
        if isinstance(x, Features):
            if x.fingerprint != self.fingerprint:
                raise UserError("these features come from another metric; compute them with this one")
            return x
        if not inputs.is_tensor(x):
            x = torch.from_numpy(np.array(inputs.read(x, what))).to(self._device)
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

    @property
    def _device(self) -> torch.device:
        return self.scaling_layer.shift.device

    @property
    def _dtype(self) -> torch.dtype:
        """Of the convolutions."""
        return next(self.net.parameters()).dtype

    def _features(self, x: Any, unit_range: bool) -> List[Tensor]:
        if isinstance(x, Features):
            return [torch.from_numpy(np.array(array)).to(self._device) for array in x.maps]
        wide = torch.float64 if x.dtype == self._dtype == torch.float64 else torch.float32
        if x.dtype == torch.uint8:
            x = x.to(wide) / 127.5 - 1  # lpips/__init__.py, im2tensor
        elif unit_range:
            x = 2 * x.to(wide) - 1
        x = x.to(wide).expand(-1, 3, -1, -1)
        if self.version != "0.0":  # the bug of that version, as in lpips/lpips.py
            x = self.scaling_layer(x)
        eps, inside = self.convention.eps, self.convention.inside
        return [unit_vectors(maps.to(wide), eps, inside) for maps in self.net(x.to(self._dtype))]

    def _pooled(self, values: Tensor, size: Tuple[int, int]) -> Tensor:
        if self.spatial:
            return functional.interpolate(values, size, mode="bilinear", align_corners=False)
        return values.mean((2, 3), keepdim=True)

    def _reduced(self, values: Tensor) -> Tensor:
        return getattr(values, self.reduction)() if self.reduction else values

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *rest: Any) -> None:
        """Refuse features of the convolutions before, when others are loaded."""
        for name, tensor in self.net.state_dict(prefix=f"{prefix}net.").items():
            loaded = state_dict.get(name)
            if isinstance(loaded, Tensor) and not (  # PyTorch refuses everything else
                loaded.shape == tensor.shape and torch.equal(loaded.to(tensor.device, tensor.dtype), tensor)
            ):
                self.fingerprint = None
        super()._load_from_state_dict(state_dict, prefix, *rest)
