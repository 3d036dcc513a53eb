"""Reader of ``.npy`` files of converters from Caffe: a pickled dict of layers, as ``numpy.save`` writes a dict.

A layer is a dict of arrays, or a list of its weight and its bias. The dict is read by :mod:`.pickle_machine`, so that
nothing in the file is executed; arrays are views of the mapped file.
"""

from __future__ import annotations

import itertools
from typing import Any, BinaryIO, Dict, Iterator, List, Tuple

import numpy as np

from ..errors import FormatError
from . import mapped, npz, pickle_machine
from .numpy_pickles import FUNCTIONS, StoredArray
from .pickle_machine import Function

MAX_ARRAYS = 1000
MAX_ENTRIES = 100_000  # of all dicts, those that are at several places counted there
MAX_DEPTH = 4  # dicts within dicts
MAX_KEY = 200  # bytes or characters of a key that go into a name
_ALONE = ("weight", "bias")  # of a layer that is a list


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """Return the arrays, named ``<layer>.<key>``, and empty metadata.

    :raises FormatError: if anything is wrong, or the file holds a single array.
    """
    data = mapped.view_of(stream, size)
    start = _start_of_pickle(stream)
    names = {name: Function(name, call) for name, call in FUNCTIONS.items()}
    content, _ = pickle_machine.load(data, start, names, placeholders=True)
    layers = content.objects() if type(content) is StoredArray else None
    if not isinstance(layers, dict):
        raise FormatError("it does not hold a dict of layers")
    arrays: Dict[str, np.ndarray] = {}
    _collect(layers, [], arrays, itertools.count(1))
    if not arrays:
        raise FormatError("its dict has no arrays")
    return arrays, {}


def _start_of_pickle(stream: BinaryIO) -> int:
    """Return the position after the header, which must be that of a pickled object."""
    _, _, dtype, length = npz.any_npy_header(stream, "the dict")
    if not dtype.hasobject:
        raise FormatError(
            "it holds a single array, a network has one for each parameter; save them with numpy.savez, or as a dict"
        )
    return length


def _collect(content: Any, path: List[str], arrays: Dict[str, np.ndarray], count: Iterator[int]) -> None:
    """Add the arrays in nested dicts and lists to ``arrays``, under the keys that lead to them.

    :param count: counts the entries.
    """
    if next(count) > MAX_ENTRIES:
        raise FormatError(f"its dict has more than {MAX_ENTRIES} entries")
    if type(content) is StoredArray:
        inner = content.objects()
        if inner is None:
            name = ".".join(path)
            if name in arrays or len(arrays) >= MAX_ARRAYS:
                raise FormatError(f"it has an array {name!r:.100} twice, or more than {MAX_ARRAYS} arrays")
            arrays[name] = content.array(name)
            return
        content = inner
    entries: Any = ()
    if isinstance(content, dict):
        entries = content.items()
    elif type(content) in (list, tuple):
        entries = zip(_ALONE, content)
    if len(path) < MAX_DEPTH:
        for key, value in entries:
            text = key[:MAX_KEY].decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
            _collect(value, [*path, text[:MAX_KEY]], arrays, count)
