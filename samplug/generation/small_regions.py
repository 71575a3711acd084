"""Removal of small holes and islands from masks."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray


def without_small_regions(
    mask: NDArray[np.bool_], area: float, kind: Literal["holes", "islands"]
) -> tuple[NDArray[np.bool_], bool]:
    """Fill small holes of a mask, or remove small islands (segment-anything's rule).

    Regions are 8-connected. If all islands are small, the largest one stays.

    Args:
        mask: (H, W) bool.
        area: Number of pixels; regions below it are small.
        kind: ``'holes'`` or ``'islands'``.

    Returns:
        The mask, and whether it was changed.
    """
    holes = kind == "holes"
    _, labels, statistics, _ = cv2.connectedComponentsWithStats((mask ^ holes).astype(np.uint8), connectivity=8)
    areas = statistics[1:, cv2.CC_STAT_AREA]  # label 0 is the rest
    small = areas < area
    if not small.any():
        return mask, False
    if holes:
        chosen = np.concatenate([[True], small])
    else:
        chosen = np.concatenate([[False], ~small])
        if small.all():
            chosen[1 + areas.argmax()] = True
    return chosen[labels], True
