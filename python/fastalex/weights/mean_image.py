"""Mean images: Caffe's ``.binaryproto`` and numpy's ``.npy``, which data layers subtract from each image.

Caffe's ``compute_image_mean`` writes a BlobProto message (github.com/BVLC/caffe, ``tools/compute_image_mean.cpp``) with
the planes in the order of its images, blue, green, red. Converters write the same array as ``.npy``.
"""

from __future__ import annotations

import os
import stat
from typing import Any, BinaryIO, Optional, Union

import numpy as np

from ..errors import UserError
from ..images import profiles
from ..networks.architecture import Variant
from . import formats
from .errors import FormatError
from .readers import mapped

SUFFIXES = (".binaryproto", ".npy")
MAX_BYTES = 64 << 20  # of a file; the mean of 256 x 256 pixels has 0.8 MB
WHITE = 255

PathLike = Union[str, "os.PathLike[str]"]


def load(path: PathLike) -> np.ndarray:
    """Read a mean image, float32 ``[C, H, W]`` with 3 planes or 1, on a scale of 0 to 255.

    The planes stay in the order of the file, which has to be that of the network's preprocessing profile: blue, green,
    red for Caffe's.

    :param path: a ``.binaryproto`` or ``.npy`` file of ``[C, H, W]`` or ``[1, C, H, W]``, at most 64 MB.
    :raises UserError: if the file is missing, of another kind or layout, or wrong in any way.
    """
    name = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):  # opening a pipe would wait forever
            raise UserError(f"the mean image {name} is not a file")
        with open(name, "rb") as stream:
            return _planes(_read(name, stream))
    except FormatError as error:
        raise UserError(f"the mean image {name} cannot be used: {error}") from None
    except FileNotFoundError:
        raise UserError(f"there is no mean image {name}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the mean image {name} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def given(image: Any, variant: Variant) -> np.ndarray:
    """Return the mean image that a user gives for a network, a path or an array, as float32 ``[C, H, W]``.

    :raises UserError: if the file cannot be read, the network's profile does not take the image, or its values cannot
        be means of pixels.
    """
    values = load(image) if isinstance(image, (str, os.PathLike)) else np.asarray(image)
    check(values, variant)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > WHITE or 0 < high <= 1:
        raise UserError(
            f"the mean image has values from {low:g} to {high:g}; it must be the mean of pixels on a scale of 0 to 255"
        )
    return np.array(values, np.float32, order="C")


def check(image: Optional[np.ndarray], variant: Variant, profile: Union[str, profiles.Profile, None] = None) -> None:
    """Check that a mean image, if there is one, suits a network.

    :param profile: the preprocessing; default: the variant's own.
    :raises UserError: if the profile takes none, or one of another shape, or a value is not finite.
    """
    if image is None:
        return
    from ..images.preprocessing import Mean  # loads Pillow

    Mean(profiles.get(variant.profile if profile is None else profile), variant.input_size, image, variant.channels)


def _read(name: str, stream: BinaryIO) -> np.ndarray:
    """Read the numbers of a file, of any shape."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in SUFFIXES:
        raise FormatError(f"its name must end in {' or '.join(SUFFIXES)}")
    size = os.fstat(stream.fileno()).st_size
    if size > MAX_BYTES:
        raise FormatError(f"it has {size} bytes, more than the {MAX_BYTES} of the largest mean image")
    data = mapped.view_of(stream, size)
    formats.refuse_stand_in(bytes(data[: formats.START]))
    return _binaryproto(data) if suffix == ".binaryproto" else _npy(stream, data)


def _binaryproto(data: memoryview) -> np.ndarray:
    from .readers import caffe
    from .readers import protobuf_wire as wire

    values = caffe.read_blob("the blob", data, wire.Budget())
    if not values.size:
        raise FormatError("it has no values, so it is not a BlobProto, which Caffe writes")
    return values


def _npy(stream: BinaryIO, data: memoryview) -> np.ndarray:
    from .readers import npz

    shape, fortran, dtype, length = npz.npy_header(stream, "the array")
    if (len(data) - length) % dtype.itemsize:
        raise FormatError(f"its {len(data) - length} bytes of values do not divide into {dtype}")
    flat = np.frombuffer(data, dtype, offset=length)
    return (
        mapped.shaped("the array", flat, shape[::-1]).transpose()
        if fortran
        else mapped.shaped("the array", flat, shape)
    )


def _planes(values: np.ndarray) -> np.ndarray:
    """Return float32 ``[C, H, W]`` of an array of this layout, or with one more axis of length 1 before it."""
    planes = values[0] if values.ndim == 4 and len(values) == 1 else values
    if planes.ndim != 3 or len(planes) not in profiles.CHANNELS or 0 in planes.shape:
        hint = ": transpose(2, 0, 1)" if planes.ndim == 3 and planes.shape[-1] in profiles.CHANNELS else ""
        raise FormatError(f"its shape is {list(values.shape)}, and a mean image is [C, H, W], of 3 planes or 1{hint}")
    if planes.dtype.kind not in "fiu":
        raise FormatError(f"it must hold numbers, not {planes.dtype}")
    return np.array(planes, np.float32, order="C")
