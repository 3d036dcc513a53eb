"""Mappings of parameter names to arrays, as callers pass them for weights: arrays of numpy or tensors of PyTorch."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from ..errors import UserError
from . import Weights
from .graph import shown
from .readers import mapped

_SAME_IN_NUMPY = frozenset(("torch.float32", "torch.float64", "torch.float16"))


def from_mapping(arrays: Mapping[str, Any]) -> Weights:
    """Return ``arrays`` as weights without a file.

    A tensor of PyTorch may require a gradient, be an ``nn.Parameter``, be on another device, or be in bfloat16.

    :raises UserError: for a tensor without values, on PyTorch's meta device, for a quantized or sparse one, and for an
        array that is mapped from a file that was cut short.
    """
    mapped.check_whole(arrays.values())
    return Weights({name: _array(name, value) for name, value in arrays.items()})


def _array(name: str, value: Any) -> Any:
    if isinstance(value, np.ndarray) or not hasattr(value, "detach"):
        return value
    if getattr(value, "is_meta", False):
        raise UserError(
            f"'{shown(str(name))}' is on PyTorch's meta device and has no values; load the weights into the model first"
        )
    if getattr(value, "is_quantized", False):
        raise UserError(f"'{shown(str(name))}' is a quantized tensor; pass the weights of the float network")
    if str(getattr(value, "layout", "torch.strided")) != "torch.strided":
        raise UserError(f"'{shown(str(name))}' is a sparse tensor; pass its to_dense()")
    tensor = value.detach().cpu()
    if str(tensor.dtype) not in _SAME_IN_NUMPY and tensor.is_floating_point():
        tensor = tensor.float()  # bfloat16, which numpy does not have
    return tensor.numpy()
