"""Limits on image files, so that a small file cannot fill the memory of the machine."""

import os

from samplug.utils.errors import ConfigError

VARIABLE = "SAMPLUG_MAX_PIXELS"
_PIXELS = 180_000_000
# Limits of OpenCV's decoders.
LARGEST_PIXELS, _LONGEST_SIDE = 2**30, 2**20
# Four channels of 16 bits.
_BYTES_PER_PIXEL = 8


class UndecodableError(Exception):
    """Bytes cannot be decoded; the message follows the name of the file ('is empty: ...')."""


def most_pixels() -> int:
    """Return the largest number of pixels of an image: ``$SAMPLUG_MAX_PIXELS``, or 180 million.

    It is an environment variable because data workers and scoring processes read images too.

    Raises:
        ConfigError: The variable is not a whole number from 1 to 2**30.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return _PIXELS
    if text.isdecimal() and 1 <= int(text[:20]) <= LARGEST_PIXELS:
        return int(text)
    raise ConfigError(f"{VARIABLE}={text[:40]!r} is not a whole number from 1 to {LARGEST_PIXELS:,}")


def most_bytes() -> int:
    """Return the largest size of an image file in bytes: 8 bytes per pixel of :func:`most_pixels`."""
    return _BYTES_PER_PIXEL * most_pixels()


def check_size(width: int, height: int) -> None:
    """Check the size of an image before its pixels are decoded.

    Raises:
        UndecodableError: The image has no pixel, or exceeds a limit.
    """
    if width < 1 or height < 1:
        raise UndecodableError(f"has a size of {width}x{height} pixels: it is damaged, download or copy it again")
    if width * height > most_pixels() or max(width, height) > _LONGEST_SIDE:
        raise UndecodableError(
            f"is too large ({width}x{height}, the limit is {most_pixels():,} pixels): cut it into tiles, or set "
            f"{VARIABLE}={width * height} if you trust its source"
            if width * height <= LARGEST_PIXELS and max(width, height) <= _LONGEST_SIDE
            else f"is too large ({width}x{height}): cut it into tiles"
        )
