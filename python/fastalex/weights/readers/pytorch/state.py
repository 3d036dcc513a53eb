"""The network's tensors in what a checkpoint holds: a state dict, one among other entries, or a whole module."""

from __future__ import annotations

from typing import Any, Dict, Tuple, Union

from ...errors import FormatError
from ...graph import shown
from ..numpy_pickles import StoredArray
from ..placeholders import Placeholder
from . import modules
from .tensors import MAX_TENSORS, Tensor

Stored = Union[Tensor, StoredArray]

# Keys under which checkpoints hold their state dict; earlier ones take precedence.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
MAX_WRAPPERS = 3  # levels of nesting
CONVOLUTIONS = 5  # of a network of the family
MAX_PARTS = 100  # entries of a list that are looked at
SHOWN_KEYS = 8  # of a file without a state dict


def tensors_of(content: Any) -> Tuple[Dict[str, Stored], Tuple[str, ...]]:
    """Return the tensors by name of the network that ``content`` is or contains, and notes on what was not read.

    :raises FormatError: if there is none, or more than one.
    """
    found = _unwrapped(content)
    tensors = named(found)
    if len(tensors) > MAX_TENSORS:
        raise FormatError(f"it has more than {MAX_TENSORS} tensors")
    for name, value in _mapping(found).items():
        if type(value) is Placeholder and value.name.startswith("torch._utils._rebuild"):
            raise FormatError(
                f"{shown(str(name))!r:.100} is not a plain tensor ({shown(value.class_name)}); save the float network"
            )
    if len({bare(name) for name in tensors}) != len(tensors):
        raise FormatError("it has a tensor with and without the prefix 'module.'")
    return tensors, modules.notes(found) if modules.is_module(found) else ()


def bare(name: str) -> str:
    """Return ``name`` without the prefixes of DataParallel."""
    return ".".join(part for part in name.split(".") if part != "module") or name


def named(content: Any) -> Dict[str, Stored]:
    """Return the tensors of a dict or a module that have a name."""
    tensors = {}
    for name, value in _mapping(content).items():
        if isinstance(name, str) and type(value) in (Tensor, StoredArray):
            tensors[name] = value
    return tensors


def _mapping(content: Any) -> Dict[Any, Any]:
    """Return the entries of a dict, of an object of a subclass of dict, or the tensors of a module; else none."""
    if isinstance(content, dict):
        return content
    if modules.is_module(content):
        return modules.tensors(content)
    return (content.entries or {}) if type(content) is Placeholder else {}


def _unwrapped(content: Any) -> Any:
    """Return the state dict in ``content``: under a key of :data:`WRAPPERS`, or the one dict that holds a network."""
    for _ in range(MAX_WRAPPERS):
        parts = _parts(content)
        wrapped = _under_a_usual_key(parts)
        if wrapped is not None:
            content = wrapped
            continue
        if named(content):
            return content
        holders = {key: value for key, value in parts.items() if _holds_network(value, MAX_WRAPPERS)}
        if not holders:
            break
        if len(holders) > 1:
            raise FormatError(
                f"several of its entries hold a network ({_keys(holders)}); save the one that is meant by itself"
            )
        content = next(iter(holders.values()))
    if named(content):
        return content
    raise FormatError(_nothing_in(content))


def _under_a_usual_key(parts: Dict[Any, Any]) -> Any:
    for key in WRAPPERS:
        value = parts.get(key)
        if isinstance(value, dict) or named(value):
            return value
    return None


def _nothing_in(content: Any) -> str:
    if type(content) is Placeholder and not content.entries:
        return (
            f"it holds an object of the class {shown(content.name)}, not a state dict; load it with the program that "
            "saved it and save model.state_dict()"
        )
    if not isinstance(content, (dict, list, tuple, Placeholder)):
        return f"it holds a {type(content).__name__}, not a state dict"
    return f"it holds no state dict with tensors; its entries are {_keys(_parts(content)) or 'none'}"


def _keys(parts: Dict[Any, Any]) -> str:
    keys = [key.class_name if isinstance(key, Placeholder) else key for key in list(parts)[:SHOWN_KEYS]]
    return ", ".join(repr(shown(str(key))) for key in keys)


def _parts(content: Any) -> Dict[Any, Any]:
    """Return the entries of a dict, or those of a list or tuple by their places."""
    if type(content) in (list, tuple):  # a Tensor is a tuple, too
        return dict(enumerate(content[:MAX_PARTS]))
    if modules.is_module(content):
        return {}
    return _mapping(content)


def _holds_network(content: Any, depth: int) -> bool:
    """Whether ``content`` is a dict with the weights of five convolutions, or has one ``depth`` levels down or less.

    An optimizer's state has a dict for each parameter, with one or two tensors.
    """
    if sum(len(tensor.shape) == 4 for tensor in named(content).values()) >= CONVOLUTIONS:
        return True
    return depth > 1 and any(_holds_network(part, depth - 1) for part in _parts(content).values())
