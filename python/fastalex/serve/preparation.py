"""Preparation of images for a network, with all that does not depend on the image done once."""

from __future__ import annotations

from typing import Optional, Union

import numpy as np
from PIL import Image

from ..errors import UserError
from ..images import profiles
from ..images.decode import TooLargeError, open_image
from ..images.preprocessing import Mean, canvas_of, geometry, normalize
from ..model import AlexNet
from .errors import ServiceError

Encoded = Union[bytes, bytearray, memoryview, np.ndarray]


class Preparation:
    """Makes inputs of ``net`` of images, to the same bits as ``net.preprocess(image, profile)``.

    :param max_pixels: the most pixels of an image.
    :raises UserError: for a profile that does not exist or does not fit the network.
    """

    def __init__(self, net: AlexNet, profile: Optional[str], max_pixels: int) -> None:
        self._row = profiles.get(profile or net.variant.profile)
        self._size, self._channels = net.variant.input_size, net.variant.channels
        self._mean = Mean(self._row, self._size, net.mean_image, self._channels)
        self._max_pixels = max_pixels

    def __call__(self, image: Encoded) -> np.ndarray:
        """Return float32 ``[C, S, S]``.

        :param image: an encoded file, or uint8 ``[H, W, 3]`` in RGB order.
        :raises ServiceError: 413 for an image that is too large, 422 for one that cannot be used.
        """
        try:
            opened = opened_image(image, self._max_pixels, self._row.upright)
            picture = opened.convert("L") if self._channels == 1 else opened
            target = geometry(picture.size, self._row, self._size)
            canvas = canvas_of(picture, self._row, self._size)
        except UserError as error:
            raise refusal(error) from None
        out = np.empty((self._channels, self._size, self._size), np.float32)
        top, left = (crop - origin for crop, origin in zip(target.crop, target.origin))
        normalize(out, canvas, top, left, self._row, self._mean)
        return out


def opened_image(image: Encoded, max_pixels: int, upright: bool = True) -> Image.Image:
    """Decode an image, which errors call what a client sees.

    :raises UserError: if it cannot be used; :class:`~fastalex.images.decode.TooLargeError` if it is too large.
    """
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[0] * image.shape[1] > max_pixels:
        raise TooLargeError(
            f"the image has {image.shape[1]} x {image.shape[0]} pixels, more than the limit of {max_pixels}; make it "
            "smaller first"
        )
    return open_image(image, max_pixels=max_pixels, upright=upright)


def refusal(error: UserError) -> ServiceError:
    """Return the error of an image that cannot be used, with its status."""
    return ServiceError(413 if isinstance(error, TooLargeError) else 422, str(error))
