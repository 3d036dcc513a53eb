"""The scans of a JPEG file, counted as its decoder meets them (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from typing import IO

_BLOCK = 1 << 16  # bytes that are read at once
# A marker that is not part of a scan: neither a stuffed zero, a restart, nor one that decoders skip in search of those.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = b"\xd8", b"\xd9", b"\xda"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


def has_more_scans(stream: IO[bytes], most: int) -> bool:
    """Return whether an open JPEG has more than ``most`` scans, of which each goes over the whole image.

    What is after the end of the image does not count. Neither does anything after the first scan of a sequential image
    that has all components, which is most of them: decoders stop there.
    """
    stream.seek(0)
    block, at, scans, components = stream.read(_BLOCK), 0, 0, 0
    while scans <= most:
        found = _MARKER.search(block, at)
        start = len(block) - 1 if found is None else found.start()  # its last byte may begin a marker
        if found is None or len(block) < start + 10:  # as far as the number of components
            more = stream.read(_BLOCK)
            if more:
                block, at = block[start:] + more, max(0, at - start)
                continue
            if found is None:
                return False
        kind, at = found.group(1), start + 2
        if kind == _END_OF_IMAGE:
            return False
        if kind == _START_OF_IMAGE:
            continue
        if kind[0] in _FRAMES:
            components = 0 if kind[0] in _PROGRESSIVE else int.from_bytes(block[start + 9 : start + 10], "big")
        elif kind == _START_OF_SCAN:
            scans += 1
            if scans == 1 and components and block[start + 4 : start + 5] == bytes((components,)):
                return False
        at += max(2, int.from_bytes(block[at : at + 2], "big"))
    return True
