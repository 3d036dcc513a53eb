"""Files of class names, one a line."""

from __future__ import annotations

import re
from typing import List

from ..errors import UserError
from . import MAX_LABEL

_SYNSET = re.compile(r"n\d{8} ")  # WordNet identifier


def read_labels(path: str, count: int) -> List[str]:
    """Read class names from a file with one name per line.

    WordNet identifiers in front of the names, as in ``ilsvrc12_synset_words.txt``, are removed.

    :raises UserError: if the file cannot be read, does not have ``count`` names, or one is longer than a label may be.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            labels = [_SYNSET.sub("", line) for line in stream.read().splitlines()]
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null character in the path
        raise UserError(f"the labels '{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from None
    while labels and not labels[-1].strip():
        labels.pop()
    if len(labels) != count:
        raise UserError(f"'{path}' has {len(labels)} labels, but the network has {count} classes")
    for number, label in enumerate(labels, 1):
        if len(label) > MAX_LABEL:
            raise UserError(f"line {number} of '{path}' has {len(label)} characters, more than {MAX_LABEL}; shorten it")
    return labels
