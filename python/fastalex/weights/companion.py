"""``config.json`` beside a weights file: the variant and the names of the classes, where the file has none itself.

Repositories of the Hugging Face Hub have such a file. Two of its keys are read:

* ``"fastalex"``: ``{"variant": NAME or the fields of Variant.to_dict(), "labels": [NAME, ...]}``, of which either may
  be left out;
* ``"id2label"``: ``{"0": NAME, "1": NAME, ...}``, as the package transformers writes it.

A ``config.json`` with neither is that of another program, and is not looked at further.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any, BinaryIO, Dict, List, Mapping, Optional, Tuple

from .._util import bounded_json
from ..errors import UserError
from . import LABELS_KEY, VARIANT_KEY, VARIANT_NAME_KEY

CONFIG = "config.json"
KEY = "fastalex"
MAX_CONFIG = 1 << 20  # bytes
_MAX_PARTS = 100_000  # lists, objects and commas
_NONE: Mapping[str, str] = {}


def beside(path: str) -> Tuple[Mapping[str, str], Tuple[Tuple[str, os.stat_result], ...]]:
    """Read the ``config.json`` in the folder of the weights file ``path``.

    :returns: what it says, as metadata of :class:`~fastalex.weights.Weights`, and its path and status; both are empty
        if it says nothing.
    :raises UserError: if its key ``"fastalex"`` is not of the form above.
    """
    name = os.path.join(os.path.dirname(path), CONFIG)
    try:
        with open(name, "rb", opener=_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            values = _values(stream, status)
    except OSError:
        return _NONE, ()
    said = values.get(KEY, {})
    variant, labels = (said.get("variant"), said.get("labels")) if isinstance(said, dict) else (0, None)
    listed = labels is None or (isinstance(labels, list) and all(isinstance(label, str) for label in labels))
    if not listed or not isinstance(variant, (str, dict, type(None))):
        raise UserError(
            f'the key "{KEY}" of {name} is not valid: it has a "variant", a name or the fields of one, and "labels", a '
            "list of text"
        )
    metadata = {}
    if variant is not None:
        metadata[VARIANT_NAME_KEY if isinstance(variant, str) else VARIANT_KEY] = _text(variant)
    if labels is None:
        labels = _by_number(values.get("id2label"))
    if labels is not None:
        metadata[LABELS_KEY] = _text(labels)
    return metadata, ((name, status),) if metadata else ()


def merged(metadata: Mapping[str, str], added: Mapping[str, str]) -> Dict[str, str]:
    """Return the ``metadata`` of a file with what is ``added`` of :func:`beside`; the file's own goes first."""
    own = {VARIANT_KEY, VARIANT_NAME_KEY} if VARIANT_KEY in metadata else set()
    return {**{key: text for key, text in added.items() if key not in own}, **metadata}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _values(stream: BinaryIO, status: os.stat_result) -> Dict[str, Any]:
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_CONFIG:
        return {}
    try:
        values = bounded_json.loads(stream.read(MAX_CONFIG).decode("utf-8"), MAX_CONFIG, _MAX_PARTS)
    except ValueError:  # it is not JSON
        return {}
    return values if isinstance(values, dict) else {}


def _by_number(names: Any) -> Optional[List[str]]:
    """Return the names of an ``id2label``, or None if it has not one for each class, or only made-up ones."""
    if not isinstance(names, dict) or not names:
        return None
    ordered = [names.get(str(number)) for number in range(len(names))]
    if not all(isinstance(name, str) for name in ordered):
        return None
    made_up = all(name == f"LABEL_{number}" for number, name in enumerate(ordered))  # transformers' default
    return None if made_up else [str(name) for name in ordered]


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for ever
