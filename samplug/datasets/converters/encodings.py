"""Texts in annotation files that stand for pictures."""

import base64
import binascii
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def runs_from_string(text: str) -> list[int]:
    """Run lengths of COCO's compressed string.

    pycocotools has the same decoder, but hands out uninitialised pixels where the runs end before the image does, so lengths are
    wanted here to be added up. A number is a sequence of characters, 5 bits each above the offset of 48, the lowest first; bit 6
    says that more follow, the last one's bit 5 is the sign. From the fourth number on it is the difference to the last but one.

    Raises:
        ValueError: A character that is none of the code's, or a number without an end.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        chunk = ord(character) - 48
        if not 0 <= chunk < 64:
            raise ValueError(f"the character {character!r} does not belong to COCO's compressed code")
        value |= (chunk & 31) << shift
        shift += 5
        if chunk & 32:
            continue
        if chunk & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the compressed code ends within a number")
    return runs


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
