"""The networks of the family in PyTorch: the reference of the tests, and the modules that the examples train.

They are built from the layer table of the native engine, :meth:`fastalex.Variant.layers`. PyTorch is imported inside
the functions, so that ``import fastalex`` does not need it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Union

import numpy as np

from ..errors import UserError
from .architecture import Variant, module_paths
from .layers import Layer
from .variants import get

if TYPE_CHECKING:
    import torch


def build(variant: Union[str, Variant], dtype: Any = None, **overrides: Any) -> torch.nn.Module:
    """Build the network ``variant`` (a name or a row) as a module in PyTorch's default initial state.

    The keys of its ``state_dict()`` are those of :meth:`Variant.parameter_shapes`, so the ``torchvision`` variant
    loads torchvision's own state dict. It maps ``[N, channels, H, W]`` to logits ``[N, num_classes]``. Like any new
    module of PyTorch it is in training mode: call ``.eval()`` to switch dropout off.

    :param dtype: type of the parameters, for example ``torch.float64``; None for PyTorch's default, ``float32``.
    :param overrides: fields of the variant to replace, as for :func:`fastalex.variants.get`.
    :raises UserError: for an unknown variant or override, or if PyTorch is not installed.
    """
    row = get(variant, **overrides)
    network: torch.nn.Module = _classes()["Network"](row)
    return network if dtype is None else network.to(dtype)


def load(model: torch.nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy ``arrays`` (parameter name -> array) into ``model``, converted to the type of its parameters.

    :raises UserError: naming the first array that is missing, unexpected or of the wrong shape.
    """
    torch = pytorch()
    own = model.state_dict()
    for name in list(own) + list(arrays):
        if name not in arrays:
            raise UserError(f"the weights lack the array '{name}'")
        if name not in own:
            raise UserError(f"the weights have an array '{name}' that the network does not")
        shape = tuple(np.shape(arrays[name]))
        if shape != tuple(own[name].shape):
            raise UserError(f"'{name}' has shape {shape}, the network needs {tuple(own[name].shape)}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(torch.from_numpy(np.array(arrays[name])))  # np.array: torch refuses read-only memory


def arrays_of(model: torch.nn.Module) -> Dict[str, np.ndarray]:
    """Return copies of the parameters of ``model`` as float32 arrays, as :func:`fastalex.weights.save` takes them."""
    return {name: tensor.detach().cpu().float().numpy().copy() for name, tensor in model.state_dict().items()}


def lrn(x: torch.Tensor, size: int, alpha: float, beta: float, k: float, groups: int = 1) -> torch.Tensor:
    """Compute ``x / (k + alpha * sum(x^2)) ** beta`` over ``size`` neighboring channels of ``[N, C, H, W]``.

    ``alpha`` is not divided by ``size``. The window of channel c runs from ``c - size // 2`` to
    ``c + (size - 1) // 2``, as in ``torch.nn.functional.local_response_norm``, and is cut off at the ends of each of
    the ``groups`` equal runs of channels.
    """
    functional = pytorch().nn.functional
    count, channels, height, width = x.shape
    runs = _wide(x).reshape(count * groups, channels // groups, height, width)
    # A sum of shifted views is faster in PyTorch than its pooling, forward and backward.
    squares = functional.pad(runs.square(), (0, 0, 0, 0, size // 2, (size - 1) // 2))
    total = sum(squares.narrow(1, offset, channels // groups) for offset in range(size))
    return (runs * (k + alpha * total).pow(-beta)).reshape(x.shape).to(x.dtype)


def spatial_norm(x: torch.Tensor, size: int, alpha: float, beta: float, k: float) -> torch.Tensor:
    """Compute ``x / (k + alpha * sum(x^2)) ** beta`` over windows of ``size`` x ``size`` values of a channel.

    ``x`` is ``[N, C, H, W]``; windows are cut off at the borders.
    """
    functional = pytorch().nn.functional
    before, after = size // 2, (size - 1) // 2
    squares = functional.pad(_wide(x).square(), (before, after, before, after))
    total = functional.avg_pool2d(squares, size, stride=1, divisor_override=1)
    return (_wide(x) * (k + alpha * total).pow(-beta)).to(x.dtype)


def _wide(x: torch.Tensor) -> torch.Tensor:
    """Return ``x`` in float32 if it has 16 bits, in which squares of activations overflow."""
    return x.float() if x.element_size() == 2 else x


def overhang(side: int, kernel: int, stride: int, pad: int) -> int:
    """Return how far the last window reaches past the padded input when the window count is rounded up."""
    return -(side + 2 * pad - kernel) % stride


def module(layer: Layer) -> torch.nn.Module:
    """Build the module of one row of a layer table, in PyTorch's default initial state."""
    built: torch.nn.Module = _classes()["module"](layer)
    return built


def pytorch() -> Any:
    """Import and return the package ``torch``.

    :raises UserError: if it is not installed.
    """
    try:
        import torch
    except ImportError:
        raise UserError("this needs PyTorch: install it with 'pip install torch'") from None
    return torch


@functools.lru_cache(maxsize=None)
def _classes() -> Dict[str, Any]:
    """Define the module classes; at first use, because their base classes are PyTorch's."""
    pytorch()  # raises the error of a missing PyTorch
    from torch import nn

    class Convolution(nn.Conv2d):
        """A convolution whose last window may overhang the input, reading zeros at the right and the bottom."""

        def __init__(self, channels: int, options: Mapping[str, Any]) -> None:
            super().__init__(
                channels,
                options["out"],
                options["kernel"],
                options["stride"],
                options["pad"],
                groups=options["groups"],
            )
            self.ceil = options["rounding"] == "ceil"

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.ceil:
                window = (self.kernel_size[0], self.stride[0], self.padding[0])
                x = nn.functional.pad(x, (0, overhang(x.shape[3], *window), 0, overhang(x.shape[2], *window)))
            return super().forward(x)

    class FullyConnected(nn.Linear):
        """A linear layer that flattens a map ``[N, C, H, W]`` in the order c, h, w."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1))

    class Function(nn.Module):
        """A function of this Python module with its constants."""

        def __init__(self, function: Any, options: Mapping[str, Any]) -> None:
            super().__init__()
            self.function, self.options = function, dict(options)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.function(x, **self.options)

        def extra_repr(self) -> str:
            return f"{self.function.__name__}, {self.options}"

    class Network(nn.Module):
        """The layers of a table one after the other, each registered under the prefix of its parameters."""

        def __init__(self, row: Variant) -> None:
            super().__init__()
            self.variant = row
            self.order: List[str] = []
            for path, layer in module_paths(row):
                self.order.append(path)
                folder, _, leaf = path.rpartition(".")
                if folder and folder not in self._modules:
                    self.add_module(folder, nn.Module())
                self.get_submodule(folder).add_module(leaf, _module(layer))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for path in self.order:
                x = self.get_submodule(path)(x)
            return x

    def _module(layer: Layer) -> Any:
        options = layer.options
        makers = {
            "conv": lambda: Convolution(layer.in_shape[0], options),
            "relu": nn.ReLU,
            "tanh": nn.Tanh,
            "sigmoid": nn.Sigmoid,
            "leaky_relu": lambda: nn.LeakyReLU(options["alpha"]),
            "lrn": lambda: Function(lrn, options),
            "spatial_norm": lambda: Function(spatial_norm, options),
            "maxpool": lambda: nn.MaxPool2d(
                options["kernel"], options["stride"], ceil_mode=options["rounding"] == "ceil"
            ),
            "adaptive_avgpool": lambda: nn.AdaptiveAvgPool2d(options["out"]),
            "dropout": lambda: nn.Dropout(options["p"]),
            "fc": lambda: FullyConnected(int(np.prod(layer.in_shape)), options["out"]),
            "softmax": lambda: nn.Softmax(1),
        }
        return makers[layer.op]()

    for one in (Convolution, FullyConnected, Function, Network):
        one.__qualname__ = one.__name__  # where pickle looks for it
    classes = {one.__name__: one for one in (Convolution, FullyConnected, Function, Network)}
    return {**classes, "module": _module}


def __getattr__(name: str) -> Any:
    """Find a class that is made at its first use, for pickle."""
    if name in ("Convolution", "FullyConnected", "Function", "Network"):
        return _classes()[name]
    raise AttributeError(name)
