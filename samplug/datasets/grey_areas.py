"""Find grey areas in black and white masks, which may mark borders and unlabelled regions.

Soft, blurred and compressed edges also contain greys, but many levels in thin lines.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_FEW = 12  # largest number of values in a mask without soft edges
_MIDDLE = (48, 207)  # in 0..255; compression changes black and white areas by less
_EVEN = 16  # in 0..255; largest difference within an area
_LINE, _AREA = np.ones((3, 3), np.uint8), np.ones((7, 7), np.uint8)


def grey_areas(raw: NDArray[Any]) -> list[int]:
    """Return the grey values of areas, excluding black and the mask's brightest value.

    In a mask with few values, an area has 3 x 3 pixels of one value. In a mask with many values, as after compression,
    it has 7 x 7 pixels of similar middle greys, whose median is returned.

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
