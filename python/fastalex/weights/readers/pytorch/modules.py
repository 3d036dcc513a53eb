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
_SCRIPTED = "__torch__."
_GROUPS = ("_parameters", "_buffers", "_modules")
#: Layers without weights that the names of a state dict imply; any other may compute something else.
_IMPLIED = frozenset(
    "AdaptiveAvgPool2d Dropout Dropout2d Flatten Identity MaxPool2d ReLU Sequential ModuleList ModuleDict".split()
)
_SHOWN = 5  # classes that a note names


def is_module(content: Any) -> bool:
    """Whether ``content`` is an object with the attributes of a module."""
    if type(content) is not Placeholder or not isinstance(content.state, dict):
        return False
    return content.name.startswith(_SCRIPTED) or isinstance(content.state.get("_modules"), dict)


def tensors(module: Placeholder) -> Dict[str, Tensor]:
    """Return the tensors of a module and its children, under the names of its state dict.

    :raises FormatError: if it has too many parts, or contains itself.
    """
    found: Dict[str, Tensor] = {}
    for prefix, part in _walk(module):
        for name, value in _attributes(part):
            if type(value) is Tensor:
                found[prefix + name] = value
    return found


def notes(module: Placeholder) -> Tuple[str, ...]:
    """Return a note on the layers without weights that the names of the weights do not imply, if there are any."""
    unusual: Set[str] = set()
    for _, part in _walk(module):
        leaf = not any(type(value) is Tensor or is_module(value) for _, value in _attributes(part))
        if leaf and part.class_name not in _IMPLIED:
            unusual.add(shown(part.class_name))
    if not unusual:
        return ()
    names = ", ".join(sorted(unusual)[:_SHOWN])
    return (f"its layers of the classes {names} were not read: pass variant=, activation= and so on if they matter",)


def _walk(module: Placeholder) -> Iterator[Tuple[str, Placeholder]]:
    """Yield the prefix of the names and the module, for a module and its children, in the order of a state dict."""
    waiting: List[Tuple[str, Placeholder, int]] = [("", module, 0)]
    visits = 0
    while waiting:
        prefix, part, depth = waiting.pop()
        visits += 1
        if visits > MAX_TENSORS or depth > MAX_DEPTH:
            raise FormatError("its modules are nested too deep, or are too many")
        yield prefix, part
        children = [(name, value) for name, value in _attributes(part) if is_module(value)]
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
