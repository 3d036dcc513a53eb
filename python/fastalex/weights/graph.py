"""The graph of a network that a file describes: nodes of ONNX's ops, and the constants that they read.

Readers make a :class:`Graph`; :mod:`.datapath` follows it from the picture to the result, and :mod:`.interpreter`
executes it. Caffe's layers are translated to ONNX's ops (:mod:`.readers.caffe`).
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..errors import printable
from .errors import FormatError


class Node(NamedTuple):
    """An operation. ``attributes`` are whole numbers, floats, text, lists of these, and arrays."""

    op: str
    name: str
    inputs: List[str]
    outputs: List[str]
    attributes: Dict[str, Any]


class Graph(NamedTuple):
    """A network as nodes and constants.

    * ``nodes``: in an order in which they can be computed.
    * ``constants``: name -> an object with ``array()``, its values, and ``sides``, its shape.
    * ``input``: name of the picture; ``shape`` is its (batch, channels, height, width), 0 for a side that is not fixed.
    * ``output``: name of the result.
    * ``opset``: version of ONNX's operators.
    * ``any_size``: whether the file allows pictures of any height and width.
    * ``floats``: whether the picture's values are floats.
    * ``channels_last``: whether the picture is given as (batch, height, width, channels). ``shape`` is not.
    """

    nodes: List[Node]
    constants: Mapping[str, Any]
    input: str
    shape: Tuple[int, ...]
    output: str
    opset: int = 13
    any_size: bool = False
    floats: bool = True
    channels_last: bool = False


def attribute(node: Node, key: str, default: Any) -> Any:
    """Return the attribute ``key`` of ``node``, or ``default`` if it is missing."""
    value: Optional[Any] = node.attributes.get(key)
    return default if value is None else value


def whole(node: Node, key: str, default: int) -> int:
    """Return the attribute ``key``, a whole number, or ``default`` if it is missing.

    :raises FormatError: if it is not a whole number.
    """
    value = attribute(node, key, default)
    if not isinstance(value, int):
        raise FormatError(f"the attribute {key} of a {shown(node.op)} is not a whole number")
    return value


def wholes(node: Node, key: str, default: Sequence[int]) -> List[int]:
    """Return the attribute ``key``, a list of whole numbers, or ``default`` if it is missing.

    :raises FormatError: if it is not a list of whole numbers.
    """
    value = attribute(node, key, list(default))
    if not isinstance(value, list) or not all(isinstance(number, int) for number in value):
        raise FormatError(f"the attribute {key} of a {shown(node.op)} is not a list of whole numbers")
    return value


def optional_input(inputs: Sequence[Any], position: int) -> Any:
    """Return the input at ``position``, or None if it is left out."""
    return inputs[position] if position < len(inputs) else None


def shown(text: str, max_length: int = 60) -> str:
    """Return the start of ``text`` in printable characters, so that a file cannot control or flood a terminal."""
    return printable(text[:max_length])
