"""The update rule of the 2012 paper as a PyTorch optimizer."""

from __future__ import annotations

import functools
from typing import Any, Dict, Iterable, List, Sequence, Tuple

from ..networks.architecture import Variant
from ..networks.torch_reference import pytorch
from .recipes import Recipe


@functools.lru_cache(maxsize=None)
def paper_sgd() -> Any:
    """Return the class ``PaperSGD``, created at first use because its base class is PyTorch's."""
    torch = pytorch()
    base: Any = torch.optim.Optimizer

    class PaperSGD(base):
        """``v = momentum * v - weight_decay * lr * w - lr * g; w = w + v`` (Krizhevsky et al. 2012, section 5).

        The learning rate is part of the velocity, so the velocity keeps its size when the rate is cut;
        ``torch.optim.SGD`` multiplies the velocity by the rate instead. At a constant rate the two are the same.
        """

        def __init__(self, params: Any, lr: float, momentum: float = 0.9, weight_decay: float = 5e-4) -> None:
            super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is None:
                        continue
                    state = self.state[weight]
                    if "momentum_buffer" not in state:
                        state["momentum_buffer"] = torch.zeros_like(weight)
                    velocity = state["momentum_buffer"].mul_(group["momentum"])
                    velocity.sub_(weight, alpha=group["weight_decay"] * group["lr"])
                    velocity.sub_(weight.grad, alpha=group["lr"])
                    weight.add_(velocity)
            return loss

    return PaperSGD


def optimizer(recipe: Recipe, row: Variant, parameters: Sequence[Tuple[str, Any]]) -> Any:
    """Create the optimizer of ``recipe`` for ``(parameter name, tensor)`` pairs.

    There is a group for the weights and one for the biases of each layer, with the keys ``layer``, its name, and
    ``bias``. :mod:`.schedule` sets their ``lr``.
    """
    layers = {name: layer.name for layer in row.layers() for name in layer.param_shapes}
    groups: Dict[Tuple[str, bool], List[Any]] = {}
    for name, tensor in parameters:
        groups.setdefault((layers[name], name.endswith(".bias")), []).append(tensor)
    rows = [_group(recipe, layer, bias, tensors) for (layer, bias), tensors in groups.items()]
    make = paper_sgd() if recipe.update == "paper" else pytorch().optim.SGD
    return make(rows, lr=recipe.lr, momentum=recipe.momentum)


def _group(recipe: Recipe, layer: str, bias: bool, tensors: Iterable[Any]) -> Dict[str, Any]:
    decay = 0.0 if bias and not recipe.bias_decay else recipe.weight_decay
    return {"params": list(tensors), "layer": layer, "bias": bias, "weight_decay": decay}
