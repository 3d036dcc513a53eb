"""A network as a file describes it: nodes in the words of ONNX, and the constants that they read.

Readers make a :class:`Graph`; :mod:`.datapath` follows it from the picture to the result, and :mod:`.interpreter`
executes it. Caffe's layers are told in ONNX's words, too (:mod:`.readers.caffe`).
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .._util.console import printable
from .errors import FormatError


class Node(NamedTuple):
    """One operation. ``attributes`` hold whole numbers, floats, text, lists of these, and arrays."""

    op: str
    name: str
    inputs: List[str]
    outputs: List[str]
    attributes: Dict[str, Any]


class Graph(NamedTuple):
    """``nodes`` in an order in which they can be computed.

    ``constants``: name -> what has ``array()``, the values, and ``sides``, their shape. ``input`` is the picture, of
    which ``shape`` says (batch, channels, height, width), 0 for a side that is not fixed; ``output`` is the result.
    ``opset`` is the version of ONNX's operators, ``any_size`` whether the file says that pictures of every height
    and width may come, ``floats`` whether their values are floats.
    """

    nodes: List[Node]
    constants: Mapping[str, Any]
    input: str
    shape: Tuple[int, ...]
    output: str
    opset: int = 13
    any_size: bool = False
    floats: bool = True


def attribute(node: Node, key: str, default: Any) -> Any:
    """The attribute ``key`` of ``node``; ``default``, or where it is not there."""
    value: Optional[Any] = node.attributes.get(key)
    return default if value is None else value


def whole(node: Node, key: str, default: int) -> int:
    """The attribute ``key``, a whole number.

    :raises FormatError: if it is none.
    """
    value = attribute(node, key, default)
    if not isinstance(value, int):
        raise FormatError(f"the attribute {key} of a {shown(node.op)} is not a whole number")
    return value


def wholes(node: Node, key: str, default: Sequence[int]) -> List[int]:
    """The attribute ``key``, a list of whole numbers.

    :raises FormatError: if it is none.
    """
    value = attribute(node, key, list(default))
    if not isinstance(value, list) or not all(isinstance(one, int) for one in value):
        raise FormatError(f"the attribute {key} of a {shown(node.op)} is no list of whole numbers")
    return value


def given(inputs: Sequence[Any], position: int) -> Any:
    """The input at ``position``; None where it is left out."""
    return inputs[position] if position < len(inputs) else None


def shown(text: str, most: int = 60) -> str:
    """``text`` as a message shows it: a file must not steer a terminal, nor fill it."""
    return printable(text[:most])
