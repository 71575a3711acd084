"""Texts in annotation files that stand for pictures."""

import base64
import binascii
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Characters of a number; more than its 64 bits take no part in any image.
_LONGEST = 12


def runs_from_string(text: str) -> list[int]:
    """Run lengths of COCO's compressed string.

    pycocotools has the same decoder, but hands out uninitialised pixels where the runs end before the image does, so lengths are
    wanted here to be added up. A number is a sequence of characters, 5 bits each above the offset of 48, the lowest first; bit 6
    says that more follow, the last one's bit 5 is the sign. From the fourth number on it is the difference to the last but one.

    Raises:
        ValueError: A character that is none of the code's, or a number without an end.
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
    """What base64 text stands for, or None if it is none."""
    try:
        return base64.b64decode(text, validate=False) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        return None


def image_from_base64(text: Any, flags: int) -> NDArray[np.uint8] | None:
    """A picture file in base64, decoded by OpenCV with these flags; None if it is none."""
    content = bytes_from_base64(text)
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None  # type: ignore[return-value]
