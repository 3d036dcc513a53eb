"""Images as inputs of a network: files, bytes, PIL images and arrays are opened, resized, cropped and normalized.

:mod:`.decode` opens images, :mod:`.profiles` has the preprocessing conventions as data, :mod:`.preprocessing` applies
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._util import lazy

if TYPE_CHECKING:
    from .decode import MAX_PIXELS, open_image
    from .preprocessing import (
        Mean,
        canvas_of,
        geometry,
        linear_resize,
        nearest_resize,
        normalize,
        prepare_frame,
        preprocess,
        ten_crop,
    )
    from .profiles import PROFILES, Profile

__all__ = [
    "MAX_PIXELS",
    "PROFILES",
    "Mean",
    "Profile",
    "canvas_of",
    "geometry",
    "linear_resize",
    "nearest_resize",
    "normalize",
    "open_image",
    "prepare_frame",
    "preprocess",
    "ten_crop",
]

_HOMES = dict.fromkeys(__all__, "preprocessing")
_HOMES.update(MAX_PIXELS="decode", open_image="decode", PROFILES="profiles", Profile="profiles")

__getattr__ = lazy.attributes(__name__, _HOMES)  # loads Pillow, which programs with their own arrays do not need
