"""Read image and mask files, with errors that name them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.imaging.decoding import Picture, decode, upright_size
from samplug.imaging.limits import UndecodableError, most_bytes
from samplug.utils.errors import DataError
from samplug.utils.regular_files import read_bytes

_Read = TypeVar("_Read")
_ROWS = 256

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Suffixes, in small letters, of the files that are read; the format is detected from the content."""


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read an image as (H, W, 3) uint8 BGR, whatever its suffix, rotated by its EXIF orientation.

    16 bits are scaled from 0..65535 to 0..255 and rounded; alpha is dropped, not blended.

    Raises:
        DataError: The file cannot be read, is not a whole JPEG, PNG, TIFF, WEBP, BMP or GIF, has more than one frame,
            or has values other than unsigned 8 or 16 bits.
    """
    return as_bgr(_read(path, decode))


def as_bgr(picture: Picture) -> NDArray[np.uint8]:
    """Convert a picture to (H, W, 3) uint8 BGR, see :func:`read_image`."""
    if picture.palette is not None:
        return np.ascontiguousarray(picture.palette[picture.pixels][..., ::-1])
    pixels = eight_bits(picture.pixels)
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else pixels  # type: ignore[return-value]


def read_mask(path: str | Path) -> NDArray[Any]:
    """Read the values of a mask, rotated by EXIF as images are.

    :class:`samplug.datasets.mask_values.MaskValues` gives them their meaning.

    Returns:
        (H, W) uint8 or uint16: grey values, or indices if the file has a palette with a colour in it (a palette of
        greys gives grey values). (H, W, 3) uint8 RGB if the channels of a colour file differ.

    Raises:
        DataError: See :func:`read_image`; or the colour is constant and only alpha varies.
    """
    picture = _read(path, decode)
    pixels = picture.pixels
    if picture.palette is not None:
        grey = (picture.palette == picture.palette[:, :1]).all()
        return picture.palette[:, 0][pixels] if grey else pixels
    if picture.alpha is not None and _is_constant(picture.alpha) < _is_constant(pixels):
        raise DataError(
            f"data: mask {path} is of one colour: the mask is in its alpha channel; save that channel as a grey PNG"
        )
    if pixels.ndim == 2:
        return pixels
    blue, green, red = cv2.split(pixels)
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    return cv2.cvtColor(eight_bits(pixels), cv2.COLOR_BGR2RGB)


def read_size(path: str | Path) -> tuple[int, int]:
    """Return height and width of the image that :func:`read_image` gives; only its header is decoded.

    Raises:
        DataError: The file cannot be read, or has no header of an image.
    """
    return _read(path, upright_size)


def _read(path: str | Path, read: Callable[[bytes], _Read]) -> _Read:
    try:
        return read(read_bytes(path, most_bytes()))
    except FileNotFoundError as error:
        if Path(path).is_symlink():
            raise DataError(
                f"data: {path} is a link to {os.readlink(path)}, which does not exist: restore that file or remove "
                "the link"
            ) from error
        raise DataError(f"data: {path} does not exist: restore it, or start again without it") from error
    except OSError as error:
        raise DataError(f"data: {path} cannot be read: {error.strerror}; mend that or remove the file") from error
    except UndecodableError as error:
        raise DataError(f"data: {path} {error}") from error


def eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale values of 16 bits from 0..65535 to 0..255 and round them; return values of 8 bits unchanged."""
    if pixels.dtype == np.uint8:
        return pixels
    scaled = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), _ROWS):  # avoids a 32-bit copy of large images
        rows = slice(start, start + _ROWS)
        scaled[rows] = (pixels[rows].astype(np.uint32) + 128) // 257
    return scaled


def _is_constant(values: NDArray[Any]) -> bool:
    return bool((values == values[:1, :1]).all())
