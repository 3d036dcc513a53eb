"""Modules in a checkpoint: those of ``torch.save(model)``, and those of an archive of ``torch.jit.save``.

Neither their classes nor their code is read: the attributes of a module hold its tensors and its children. Those of
``torch.nn.Module`` are ``_parameters``, ``_buffers`` and ``_modules``; a scripted module has them by their own names.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Set, Tuple

from ...errors import FormatError
from ...graph import shown
from ..placeholders import Placeholder
from .tensors import MAX_TENSORS, Tensor

MAX_DEPTH = 32  # modules within modules
MAX_LOOKS = 2_000_000  # entries of a file's dicts and modules that are looked at, about a second
MAX_NAMES = 32 << 20  # characters of the names of their modules and tensors, with those of the modules around them
_SCRIPTED = "__torch__."
_GROUPS = ("_parameters", "_buffers", "_modules")
#: Layers without weights that the names of a state dict imply; any other may compute something else.
_IMPLIED = frozenset(
    "AdaptiveAvgPool2d Dropout Dropout2d Flatten Identity MaxPool2d ReLU Sequential ModuleList ModuleDict".split()
)
_SHOWN = 5  # classes or settings that a note names
_INSTEAD = "pass variant=, activation= and so on if they matter, or export the network as .onnx"


#: What the layers of every network of the family are set to.
_USUAL: Dict[str, Dict[str, Tuple[Any, ...]]] = {
    "MaxPool2d": {"kernel_size": (3,), "stride": (2,), "padding": (0,), "dilation": (1,)},
    "Conv2d": {"dilation": (1,), "padding_mode": ("zeros",)},
}
#: Stride and padding of a convolution, by its kernel.
_CONVOLUTIONS = {11: ((4,), (0, 2)), 5: ((1,), (2,)), 3: ((1,), (1,))}
_TORCHVISIONS_FIRST = ("features.0", (2,))  # padding of the layer that is called so


class Looks:
    """The entries of dicts and modules that may still be looked at in a file."""

    def __init__(self) -> None:
        self._left, self._names = MAX_LOOKS, MAX_NAMES

    def spend(self, count: int) -> None:
        """Count ``count`` entries.

        :raises FormatError: if there are too many.
        """
        self._left -= count
        if self._left < 0:
            raise FormatError(f"more than {MAX_LOOKS} entries would have to be looked at for its tensors")

    def spend_names(self, count: int) -> None:
        """Count ``count`` characters of names.

        :raises FormatError: if there are too many.
        """
        self._names -= count
        if self._names < 0:
            raise FormatError(f"the names of its modules would have more than {MAX_NAMES} characters")


def is_module(content: Any) -> bool:
    """Whether ``content`` is an object with the attributes of a module."""
    if type(content) is not Placeholder or not isinstance(content.state, dict):
        return False
    return content.name.startswith(_SCRIPTED) or isinstance(content.state.get("_modules"), dict)


def tensors(module: Placeholder, looks: Looks) -> Dict[str, Tensor]:
    """Return the tensors of a module and its children, under the names of its state dict.

    :raises FormatError: if it has too many parts, or contains itself.
    """
    found: Dict[str, Tensor] = {}
    for prefix, part in _walk(module, looks):
        for name, value in _attributes(part):
            if type(value) is Tensor:
                found[prefix + name] = value
    return found


def notes(module: Placeholder, looks: Looks) -> Tuple[str, ...]:
    """Return notes on what the names and shapes of the weights do not say: other layers, unusual settings, code."""
    classes: Set[str] = set()
    settings: List[str] = []
    for prefix, part in _walk(module, looks):
        leaf = not any(type(value) is Tensor or is_module(value) for _, value in _attributes(part))
        if leaf and part.class_name not in _IMPLIED:
            classes.add(shown(part.class_name))
        settings += _unusual(prefix[:-1], part)
    told: List[str] = []
    if module.name.startswith(_SCRIPTED):
        told.append("it is a script, of which the weights were read and the code was not")
    if classes:
        told.append(f"its layers of the classes {', '.join(sorted(classes)[:_SHOWN])} were not read: {_INSTEAD}")
    if settings:
        told.append(f"its settings {', '.join(settings[:_SHOWN])} were not read: {_INSTEAD}")
    return tuple(told)


def _unusual(name: str, layer: Placeholder) -> Iterator[str]:
    """Yield the settings of a layer that are not those of the family."""
    state = layer.state
    usual = dict(_USUAL.get(layer.class_name, {}))
    if layer.class_name == "Conv2d" and _side(state.get("kernel_size")) in _CONVOLUTIONS:
        usual["stride"], usual["padding"] = _CONVOLUTIONS[_side(state["kernel_size"])]
        if name == _TORCHVISIONS_FIRST[0]:
            usual["padding"] = _TORCHVISIONS_FIRST[1]
    for key, values in usual.items():
        value = _side(state.get(key, values[0]))
        if value not in values:
            yield f"{key} = {shown(str(value), 20)} of '{shown(name)}'"


def _side(value: Any) -> Any:
    """Return the number of a pair of equal numbers, and the type's name of what is neither numbers nor text."""
    if type(value) is tuple and len(value) == 2 and all(type(part) is int for part in value):
        return value[0] if value[0] == value[1] else str(value)
    return value if type(value) in (int, str) else type(value).__name__


def _walk(module: Placeholder, looks: Looks) -> Iterator[Tuple[str, Placeholder]]:
    """Yield the prefix of the names and the module, for a module and its children, in the order of a state dict."""
    waiting: List[Tuple[str, Placeholder, int]] = [("", module, 0)]
    visits = 0
    while waiting:
        prefix, part, depth = waiting.pop()
        visits += 1
        if visits > MAX_TENSORS or depth > MAX_DEPTH:
            raise FormatError("its modules are nested too deep, or are too many")
        attributes = _attributes(part)
        looks.spend(1 + len(attributes))
        looks.spend_names(sum(len(prefix) + len(name) for name, _ in attributes))
        yield prefix, part
        children = [(name, value) for name, value in attributes if is_module(value)]
        waiting += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(children)]


def _attributes(module: Placeholder) -> List[Tuple[str, Any]]:
    """Return the parameters, buffers and children of a module by name."""
    scripted = module.name.startswith(_SCRIPTED)
    groups = [module.state] if scripted else [module.state.get(key) for key in _GROUPS]
    return [
        (name, value)
        for group in groups
        if isinstance(group, dict)
        for name, value in group.items()
        if isinstance(name, str)
    ]
