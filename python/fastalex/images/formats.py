"""The image file formats that are read, recognized by their first bytes; and names that are addresses."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, Optional, Tuple

#: Bytes at the start of a file that :func:`recognize` needs.
HEAD = 32
#: Suffixes by which images are found in folders; a file named by itself is recognized by its first bytes.
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff"),
    ".webp",
)
NAMES = "JPEG, PNG, WebP, BMP, GIF, TIFF, PPM, JPEG 2000 or AVIF"


def is_url(name: str) -> bool:
    """Whether the name of an image is an address that :mod:`.remote` reads, ``http://`` or ``https://``."""
    return name[:8].lower().startswith(("http://", "https://"))


class Format(NamedTuple):
    """A format: Pillow's plugin and class for it, and a signature, ``magic`` at ``offset``.

    Pillow's classes are used directly, because ``Image.open`` warns of large images, by the filters of the whole
    process, before the caller sees the size. They read the header only.
    """

    name: str
    plugin: str
    reader: str
    magic: bytes
    offset: int = 0

    def open(self, stream: Any) -> Any:
        """Read the header of an open file with Pillow's class.

        :raises Exception: of many kinds for a damaged file; ImportError if this Pillow does not have the format.
        """
        plugin = importlib.import_module("PIL." + self.plugin)
        return getattr(plugin, self.reader)(stream)


_TIFF = ("TIFF", "TiffImagePlugin", "TiffImageFile")
_JPEG_2000 = ("JPEG 2000", "Jpeg2KImagePlugin", "Jpeg2KImageFile")
_AVIF = ("AVIF", "AvifImagePlugin", "AvifImageFile")
_FORMATS = (
    Format("JPEG", "JpegImagePlugin", "JpegImageFile", b"\xff\xd8\xff"),
    Format("PNG", "PngImagePlugin", "PngImageFile", b"\x89PNG\r\n\x1a\n"),
    Format("WebP", "WebPImagePlugin", "WebPImageFile", b"WEBP", 8),
    Format("BMP", "BmpImagePlugin", "BmpImageFile", b"BM"),
    Format("GIF", "GifImagePlugin", "GifImageFile", b"GIF8"),
    *(Format(*_TIFF, magic) for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *(Format("PPM", "PpmImagePlugin", "PpmImageFile", b"P%d" % kind) for kind in range(1, 7)),
    *(Format(*_JPEG_2000, magic) for magic in (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    *(Format(*_AVIF, magic, 4) for magic in (b"ftypavif", b"ftypavis")),
)


def recognize(start: bytes) -> Optional[Format]:
    """Return the format of a file that begins with ``start``, :data:`HEAD` bytes of it; None for any other."""
    for each in _FORMATS:
        if start[each.offset : each.offset + len(each.magic)] == each.magic:
            return each
    return None


def webp_size(start: bytes) -> Tuple[int, int]:
    """Read (width, height) from the first 30 bytes of a WebP file: RFC 9649 (VP8X, VP8L) and RFC 6386 (VP8)."""
    kind = start[12:16]
    if kind == b"VP8X":
        return int.from_bytes(start[24:27], "little") + 1, int.from_bytes(start[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(start[26:28], "little") & 0x3FFF, int.from_bytes(start[28:30], "little") & 0x3FFF
