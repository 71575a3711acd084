"""Find areas of grey in masks that seem to be black and white: borders and regions that nobody judged.

Soft, blurred and compressed edges have greys too, but of many levels and in thin lines.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_FEW = 12  # values of a mask without soft edges
_MIDDLE = (48, 207)  # of 255; compression spoils black and white areas by less
_EVEN = 16  # of 255; difference within an area
_LINE, _AREA = np.ones((3, 3), np.uint8), np.ones((7, 7), np.uint8)


def grey_areas(raw: NDArray[Any]) -> list[int]:
    """Return the greys between black and the mask's brightest value that fill areas.

    In a mask of few values an area has 3 x 3 pixels of one value. In a mask of many values, which compression may have
    made, it has 7 x 7 pixels of nearly the same middle grey; the middle one of these values is returned.

    Args:
        raw: (H, W) uint8 or uint16.
    """
    values = np.flatnonzero(np.bincount(raw.ravel()))
    between = [int(value) for value in values if 0 < value < values[-1]]
    if not between:
        return []
    if len(values) <= _FEW:
        return [value for value in between if _holds((raw == value).astype(np.uint8), _LINE)]
    scale = int(np.iinfo(raw.dtype).max) // 255
    lowest, highest = cv2.erode(raw, _AREA), cv2.dilate(raw, _AREA)
    even = (highest - lowest <= _EVEN * scale) & (lowest >= _MIDDLE[0] * scale) & (highest <= _MIDDLE[1] * scale)
    return [int(np.median(raw[even]))] if even.any() and values[-1] > _MIDDLE[1] * scale else []


def _holds(inside: NDArray[np.uint8], area: NDArray[np.uint8]) -> bool:
    return bool(cv2.erode(inside, area, borderValue=0).any())
