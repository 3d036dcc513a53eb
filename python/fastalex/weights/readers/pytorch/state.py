"""The network's tensors in what a checkpoint holds: a state dict, one among other entries, or a whole module."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple, Union

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
    search = _Search()
    found = search.unwrapped(content)
    tensors = search.named(found)
    if len(tensors) > MAX_TENSORS:
        raise FormatError(f"it has more than {MAX_TENSORS} tensors")
    for name, value in search.mapping(found).items():
        if type(value) is Placeholder and value.name.startswith("torch._utils._rebuild"):
            raise FormatError(
                f"{shown(str(name))!r:.100} is not a plain tensor ({shown(value.class_name)}); save the float network"
            )
    if len({bare(name) for name in tensors}) != len(tensors):
        raise FormatError("it has a tensor with and without the prefix 'module.'")
    notes = modules.notes(found, search.looks) if modules.is_module(found) else ()
    return tensors, (*search.notes, *notes)


def bare(name: str) -> str:
    """Return ``name`` without the prefixes of DataParallel."""
    return ".".join(part for part in name.split(".") if part != "module") or name


class _Search:
    """The search for the state dict in a checkpoint, with a limit on the entries that it looks at.

    A pickle may hold one dict at many places, so that the places are far more than the objects.
    """

    def __init__(self) -> None:
        self.looks = modules.Looks()
        self.notes: Tuple[str, ...] = ()

    def unwrapped(self, content: Any) -> Any:
        """Return the state dict in ``content``: under a key of :data:`WRAPPERS`, or the one that holds a network.

        If none holds one, it is the first dict with tensors on that way.
        """
        for _ in range(MAX_WRAPPERS):
            parts = self.parts(content)
            holders = {key: value for key, value in parts.items() if self.holds_network(value, MAX_WRAPPERS)}
            usual = next((key for key in WRAPPERS if key in holders), None)
            if usual is not None:
                self._note_others([key for key in holders if key != usual])
                content = holders[usual]
            elif self._is_network(content):
                self._note_others(list(holders))
                return content
            elif len(holders) > 1:
                raise FormatError(
                    f"several of its entries hold a network ({_keys(holders)}); save the one that is meant by itself"
                )
            elif holders:
                content = next(iter(holders.values()))
            else:
                wrapped = self._under_a_usual_key(parts)
                if wrapped is None:
                    break
                content = wrapped
        if self.named(content):
            return content
        raise FormatError(_nothing_in(content, self.parts(content)))

    def mapping(self, content: Any) -> Dict[Any, Any]:
        """Return the entries of a dict, of an object of a subclass of dict, or the tensors of a module; else none."""
        if modules.is_module(content):
            return dict(modules.tensors(content, self.looks))
        entries = content if isinstance(content, dict) else content.entries if type(content) is Placeholder else None
        self.looks.spend(len(entries or ()))
        return entries or {}

    def named(self, content: Any) -> Dict[str, Stored]:
        """Return the tensors of a dict or a module that have a name."""
        return {
            name: value
            for name, value in self.mapping(content).items()
            if isinstance(name, str) and type(value) in (Tensor, StoredArray)
        }

    def parts(self, content: Any) -> Dict[Any, Any]:
        """Return the entries of a dict, or those of a list or tuple by their places."""
        if type(content) in (list, tuple):  # a Tensor is a tuple, too
            return dict(enumerate(content[:MAX_PARTS]))
        return {} if modules.is_module(content) else self.mapping(content)

    def holds_network(self, content: Any, depth: int) -> bool:
        """Whether ``content`` is a dict with the weights of a network, or has one ``depth`` levels down or less."""
        if self._is_network(content):
            return True
        return depth > 1 and any(self.holds_network(part, depth - 1) for part in self.parts(content).values())

    def _is_network(self, content: Any) -> bool:
        """Whether ``content`` has the weights of five convolutions.

        An optimizer's state has a dict for each parameter, with one or two tensors.
        """
        return sum(len(tensor.shape) == 4 for tensor in self.named(content).values()) >= CONVOLUTIONS

    def _under_a_usual_key(self, parts: Dict[Any, Any]) -> Any:
        for key in WRAPPERS:
            value = parts.get(key)
            if isinstance(value, dict) or self.named(value):
                return value
        return None

    def _note_others(self, keys: List[Any]) -> None:
        if keys:
            self.notes += (f"another network, under {_keys(dict.fromkeys(keys))}, was left out",)


def _nothing_in(content: Any, parts: Dict[Any, Any]) -> str:
    if type(content) is Placeholder and not content.entries:
        return (
            f"it holds an object of the class {shown(content.name)}, not a state dict; load it with the program that "
            "saved it and save model.state_dict()"
        )
    if not isinstance(content, (dict, list, tuple, Placeholder)):
        return f"it holds a {type(content).__name__}, not a state dict"
    return f"it holds no state dict with tensors; its entries are {_keys(parts) or 'none'}"


def _keys(parts: Dict[Any, Any]) -> str:
    return ", ".join(repr(shown(str(key))) for key in list(parts)[:SHOWN_KEYS])
