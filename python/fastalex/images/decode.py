"""Decoding of files, bytes, PIL images and arrays to 8-bit RGB images."""

from __future__ import annotations

import os
import stat
from io import BytesIO
from typing import IO, Any, Tuple, Union

import numpy as np
from PIL import Image

from .._util.files import GIT_LFS
from ..errors import UserError
from . import formats, jpeg

Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes], Image.Image, np.ndarray]
#: The largest image that is decoded, in pixels (width x height): Pillow's own limit for its warning of a
#: decompression bomb, a quarter of a gigabyte as RGB.
MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3
#: An image of more pixels than the first may have so many for each byte of its file. Photographs have some tens; but a
#: few bytes of WebP, JPEG 2000, AVIF or TIFF can stand for all that MAX_PIXELS allows, and take a gigabyte and more.
DENSE_PIXELS, MAX_PIXELS_A_BYTE = 1 << 24, 100
#: Pixels times scans of a JPEG of several, of which each goes over the whole image: 24 scans of the largest, where
#: common encoders write 10. They take one or two seconds, and 12 bytes of a file are enough for a scan.
MAX_SCANNED = 24 * MAX_PIXELS
_BLOCK = 1 << 20  # pixels that are scaled at once
_ORIENTATION = 0x0112  # the EXIF tag
# EXIF orientation -> the operation that turns the image upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class TooLargeError(UserError):
    """An image that has more pixels, or for its size more scans, than the limit."""


def open_image(source: Source, bgr: bool = False, max_pixels: int = MAX_PIXELS, upright: bool = True) -> Image.Image:
    """Open an image as an upright 8-bit RGB image that shares no memory with ``source``.

    * EXIF orientation is applied, and absent from the result; unreadable EXIF data is ignored.
    * Alpha and palette transparency are dropped, not composited: transparent pixels get their stored colors, as by
      ``convert("RGB")``, which torchvision's users call.
    * CMYK and other color spaces are converted by Pillow; color profiles are ignored.
    * 16-bit gray is scaled to 8 bits, ``round(value / 257)``; Pillow's own conversion clips it at 255.
      16-bit color keeps its high byte, as Pillow reads it.

    :param source: the path of an image file, its address (``http://`` or ``https://``, at most 32 MB, 10 s in all and
        3 redirects), its bytes, the file itself, open in binary mode, a PIL image, or a uint8
        array ``[H, W]`` (gray), ``[H, W, 1]``, ``[H, W, 3]`` (RGB) or ``[H, W, 4]`` (RGBA). Formats: JPEG, PNG, WebP,
        BMP, GIF, TIFF, PPM, and where this Pillow has them JPEG 2000 and AVIF; of several frames or pages the first.
    :param bgr: the channels of an array are blue, green, red, as in frames of OpenCV and JetBot.
    :param max_pixels: limit on the size of a file or bytes, in pixels. Above :data:`DENSE_PIXELS` an image must also
        have a byte for each :data:`MAX_PIXELS_A_BYTE`, and a JPEG of several scans at most :data:`MAX_SCANNED`.
    :param upright: False: do not apply the EXIF orientation, as ``Image.open(path).convert("RGB")`` does not.
    :raises UserError: if the image is missing, truncated, corrupt, of another format or type, or too large, or its
        address cannot be read. Nothing else is raised for a bad image.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(_array_rgb(source, bgr))
    if bgr:
        raise UserError("bgr=True is for arrays; files and PIL images say themselves what their channels are")
    if isinstance(source, Image.Image):
        return _decoded(source, "the PIL image", upright)
    if isinstance(source, (bytes, bytearray, memoryview)):
        with BytesIO(bytes(source)) as stream:
            return _read(stream, "the image given as bytes", max_pixels, upright)
    if hasattr(source, "read"):
        return _read_open(source, max_pixels, upright)
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(
            "an image is a path, the bytes of a file, an open file, a PIL image or a uint8 array, "
            f"not {type(source).__name__}"
        )
    if isinstance(source, str) and formats.is_url(source):
        return _read_url(source, max_pixels, upright)
    path = os.fsdecode(source)
    name = f"'{path.encode('utf-8', 'backslashreplace').decode('utf-8')}'"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a directory or a device would fail later, a pipe might hang
            raise UserError(f"{name} is not a file; give the path of an image")
        with open(path, "rb") as stream:
            return _read(stream, name, max_pixels, upright)
    except UserError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise UserError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from None


def _array_rgb(array: np.ndarray, bgr: bool) -> np.ndarray:
    """Convert a uint8 array of any accepted shape to contiguous RGB ``[H, W, 3]``."""
    if array.dtype != np.uint8:
        raise UserError(
            f"an image array must be uint8 with values 0 to 255, not {array.dtype}; scale it first, "
            "or pass an already preprocessed [N, 3, H, W] batch to the network itself"
        )
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise UserError(
            "an image array must be [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] with at least one pixel, "
            f"not {list(array.shape)}"
        )
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[..., 2::-1] if bgr else pixels[..., :3])


def _read_open(stream: Any, max_pixels: int, upright: bool) -> Image.Image:
    """Decode what an open file holds, from its start if it can be rewound; it stays open."""
    name = f"the open file {getattr(stream, 'name', '')!r}" if getattr(stream, "name", "") else "the open file"
    try:
        if stream.seekable():
            stream.seek(0)
        content = stream.read()
    except (AttributeError, OSError, ValueError) as error:
        raise UserError(f"cannot read {name}: {error}") from None
    if not isinstance(content, bytes):
        raise UserError(f"{name} is open as text; open it with mode 'rb'")
    with BytesIO(content) as copy:
        return _read(copy, name, max_pixels, upright)


def _read_url(url: str, max_pixels: int, upright: bool) -> Image.Image:
    from . import remote  # loads urllib, which local images do not need

    with BytesIO(remote.fetch(url)) as stream:
        return _read(stream, remote.name_of(url), max_pixels, upright)


def _read(stream: IO[bytes], name: str, max_pixels: int, upright: bool) -> Image.Image:
    """Decode an open file, called ``name`` in errors."""
    start = stream.read(formats.HEAD)
    stream.seek(0)
    if not start:
        raise UserError(f"{name} is empty; it should be a {formats.NAMES} image")
    kind = formats.recognize(start)
    if kind is None and len(start) == formats.HEAD and GIT_LFS.startswith(start):
        raise UserError(f"{name} is a Git LFS pointer, not the image itself; run 'git lfs pull' in its repository")
    if kind is None:
        raise UserError(f"{name} is not a {formats.NAMES} image; convert it to one of these")
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if kind.name == "WebP":  # the one reader that allocates the pixels on opening
        _check_size(formats.webp_size(start), length, name, max_pixels)
    try:
        image = kind.open(stream)
    except ImportError:
        raise UserError(f"{name} is a {kind.name} image, which this Pillow cannot read; convert it") from None
    except Exception as error:  # noqa: BLE001 (see _decoded)
        raise _unreadable(name, error) from None
    _check_size(image.size, length, name, max_pixels)
    if kind.name == "JPEG":
        _check_scans(image.size, stream, name)
    return _decoded(image, name, upright)


def _check_size(size: Tuple[int, int], length: int, name: str, max_pixels: int) -> None:
    """Check the size that a header states against the limits, for a file of ``length`` bytes.

    :raises TooLargeError: if it is larger.
    """
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        raise TooLargeError(
            "%s has %d x %d pixels, more than the limit of %d; make it smaller first" % (name, *size, max_pixels)
        )
    if pixels > max(DENSE_PIXELS, MAX_PIXELS_A_BYTE * length):
        raise TooLargeError(
            "%s has %d x %d pixels in %d bytes, more than the limit of %d a byte; make it smaller first"
            % (name, *size, length, MAX_PIXELS_A_BYTE)
        )


def _check_scans(size: Tuple[int, int], stream: IO[bytes], name: str) -> None:
    """Check the number of scans of a JPEG, and keep the position in ``stream``.

    :raises TooLargeError: if they are too many for its size.
    """
    most = MAX_SCANNED // max(1, size[0] * size[1])
    position = stream.tell()
    many = jpeg.has_more_scans(stream, most)
    stream.seek(position)
    if many:
        raise TooLargeError(
            "%s has more than %d scans of %d x %d pixels; save it as a plain JPEG" % (name, most, *size)
        )


def _decoded(image: Image.Image, name: str, upright: bool) -> Image.Image:
    """Decode a (lazy) PIL image and return it in RGB, without metadata, which would turn it a second time."""
    try:
        image.load()
        orientation = _orientation(image) if upright else None
        rgb = _rgb(image, name)
        if orientation in _UPRIGHT:
            rgb = rgb.transpose(_UPRIGHT[orientation])
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001
        # On bad data, Pillow's decoders raise OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error,
        # OverflowError, MemoryError, KeyError, ...: no shorter list is complete.
        raise _unreadable(name, error) from None
    if 0 in rgb.size:
        raise UserError(f"{name} has no pixels")
    rgb.info = {}
    return rgb


def _unreadable(name: str, error: Exception) -> UserError:
    if isinstance(error, MemoryError):  # also Pillow's word for a row of more bytes than it takes
        return UserError(f"cannot decode {name}, it needs more memory than there is; make it smaller first")
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"cannot decode {name}, it is truncated or corrupt: {reason}")


def _orientation(image: Image.Image) -> Any:
    """Return the EXIF orientation, or None; EXIF data is often damaged in files whose pixels are fine."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001
        return None


def _rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert a decoded PIL image of any mode to a new RGB image."""
    # Pillow before 10.3 or so opens a 16-bit gray PNG as 32-bit "I"; every version does so with a 16-bit PGM.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("I", "F"):
        raise UserError(f"{name} has 32-bit pixels of unknown range (mode {image.mode}); scale it to 8 bits")
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.copy()  # the palette's own colors; with its transparency Pillow warns, and drops that, too
        del image.info["transparency"]
    if image.mode in ("RGBa", "La"):  # premultiplied alpha, which Pillow cannot convert in one step
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
    return image.convert("RGB")


def _eight_bits(gray: np.ndarray) -> np.ndarray:
    """Scale 16-bit values ``[H, W]`` to 8 bits, in blocks of rows, which bounds the memory."""
    scaled = np.empty(gray.shape, np.uint8)
    rows = max(1, _BLOCK // max(1, gray.shape[1]))
    for first in range(0, len(gray), rows):
        scaled[first : first + rows] = (gray[first : first + rows].astype(np.uint32) + 128) // 257
    return scaled
