"""Decode masks and images that annotation files contain as text."""

import base64
import binascii
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.imaging.decoding import decode
from samplug.imaging.files import as_bgr
from samplug.imaging.limits import UndecodableError, most_bytes

# Most characters of a number: longer ones do not occur in any image and would exceed 64 bits.
_LONGEST = 12


def runs_from_string(text: str) -> list[int]:
    """Decode the run lengths of COCO's compressed string.

    pycocotools has such a decoder, but it returns uninitialised pixels if the runs end before the image does; here the
    lengths can be summed and checked. A number is a sequence of characters, each with 5 bits above an offset of 48,
    lowest bits first. Bit 6 tells that more characters follow; bit 5 of the last one is the sign. From the fourth
    number on, numbers are differences to the last but one.

    Raises:
        ValueError: A character does not belong to the code, or a number has no end.
    """
    codes = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - 48
    if ((codes < 0) | (codes >= 64)).any():
        character = next(character for character in text if not 48 <= ord(character) < 112)
        raise ValueError(f"the character {character!r} does not belong to COCO's compressed code")
    if not codes.size:
        return []
    more = (codes & 32) > 0
    if more[-1]:
        raise ValueError("the compressed code ends within a number")
    starts = np.flatnonzero(np.concatenate([[True], ~more[:-1]]))
    lengths = np.diff(starts, append=codes.size)
    if lengths.max() > _LONGEST:
        raise ValueError(f"the compressed code has a number of {lengths.max()} characters")
    places = np.arange(codes.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 31) << (5 * places), starts)
    runs -= np.where(codes[starts + lengths - 1] & 16, 1 << (5 * lengths), 0)
    for first in (1, 2):
        runs[first::2] = runs[first::2].cumsum()
    return runs.tolist()


def bytes_from_base64(text: Any) -> bytes | None:
    """Decode base64 text; None if it is not base64, or longer than the largest image file."""
    try:
        short = isinstance(text, str) and len(text) <= 2 * most_bytes()
        return base64.b64decode(text, validate=False) if short else None
    except (binascii.Error, ValueError):
        return None


def image_from_base64(text: Any, flags: int) -> NDArray[np.uint8] | None:
    """Decode a base64 image file within the limits of :func:`~samplug.imaging.files.read_image`.

    Args:
        text: Unchecked text of an annotation file.
        flags: ``cv2.IMREAD_COLOR`` for (H, W, 3) BGR, or ``cv2.IMREAD_GRAYSCALE`` for (H, W).

    Returns:
        The upright image; None if the text is not a complete image within the limits.
    """
    content = bytes_from_base64(text)
    if not content:
        return None
    try:
        pixels = as_bgr(decode(content))
    except UndecodableError:
        return None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if flags == cv2.IMREAD_GRAYSCALE else pixels  # type: ignore[return-value]
