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
    values = values_of(raw).tolist()
    between = [value for value in values if 0 < value < values[-1]]
    if len(values) <= _FEW:
        return [value for value in between if cv2.erode((raw == value).view(np.uint8), _LINE, borderValue=0).any()]
    scale = int(np.iinfo(raw.dtype).max) // 255
    darkest, brightest = (limit * scale for limit in _MIDDLE)
    # Soft edges are thinner than an area: most masks need no more than this.
    middle = ((raw >= darkest) & (raw <= brightest)).view(np.uint8)
    if values[-1] <= brightest or not cv2.erode(middle, _AREA).any():
        return []
    lowest, highest = cv2.erode(raw, _AREA), cv2.dilate(raw, _AREA)
    even = (highest - lowest <= _EVEN * scale) & (lowest >= darkest) & (highest <= brightest)
    return [int(np.median(raw[even]))] if even.any() else []


def values_of(raw: NDArray[Any]) -> NDArray[np.int64]:
    """Return the values that occur in a mask (H, W) of uint8 or uint16: (N,), ascending."""
    number = int(np.iinfo(raw.dtype).max) + 1
    return np.flatnonzero(cv2.calcHist([raw], [0], None, [number], [0, number]))
