"""torchvision's AlexNet in PyTorch, for the examples that compare with the way it was done before."""

from __future__ import annotations

from typing import Any, Dict, Sequence

import torch

import fastalex


def load(path: str, num_classes: int) -> Any:
    """The network with the state dict in ``path``: torchvision's own where it is installed, else the same modules."""
    try:
        from torchvision.models import alexnet

        model = alexnet(num_classes=num_classes)
    except ImportError:
        from fastalex.networks import torch_reference

        model = torch_reference.build(fastalex.variants.get("torchvision", num_classes=num_classes))
    model.load_state_dict(torch.load(path, map_location="cpu"))
    return model


def hooked(model: Any, batch: Any, names: Sequence[str]) -> Dict[str, Any]:
    """Outputs of modules by name, as float32 arrays, from hooks that clone, as thingsvision's do.

    Without the clone torchvision's ReLUs, which work in place, would change on a CPU what a hook kept before.
    """
    kept: Dict[str, Any] = {}

    def keeper(name: str) -> Any:
        return lambda module, inputs, output: kept.__setitem__(name, output.clone().detach().numpy())

    handles = [model.get_submodule(name).register_forward_hook(keeper(name)) for name in names]
    try:
        with torch.no_grad():
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return kept
