"""Draw polygons with very many points with the result of pycocotools, in time linear in the number of column crossings.

pycocotools visits every fifth of a pixel along the outline, and sorts all its crossings of columns. This is slow for
60,000 points in a small image. Here crossings are computed directly and counted instead of sorted: a pixel is inside if
the number of crossings above it in its column is odd.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_SCALE = 5  # pycocotools rounds points to fifths of a pixel
_CROSSINGS = 2**14  # number computed at a time


def fill(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw a closed polygon; the mask equals that of pycocotools' ``frPyObjects``.

    Args:
        points: (N, 2) float64, (x, y) in pixels.
        size: (H, W) of the image.

    Returns:
        (H, W) bool, in Fortran order.
    """
    height, width = size
    crossings = np.zeros(height * width + 1, np.uint8)  # only the parity matters
    corners = (_SCALE * points + 0.5).astype(np.int64)
    for place in _crossings(corners, np.roll(corners, -1, axis=0), height, width):
        np.add.at(crossings, place, np.uint8(1))
    inside = np.bitwise_xor.accumulate(crossings[:-1] & 1)
    return inside.view(np.bool_).reshape(size, order="F")


def _crossings(
    begin: NDArray[np.int64], end: NDArray[np.int64], height: int, width: int
) -> Iterator[NDArray[np.int64]]:
    """Yield the crossings of sides with the middle of columns, as column-major pixel indices."""
    extent = abs(end - begin)
    for steep in (False, True):
        chosen = (extent[:, 0] < extent[:, 1]) == steep
        one, other = begin[chosen], end[chosen]
        # Like pycocotools, walk along a side in the direction in which its longer extent grows.
        back = (one > other)[:, [int(steep)]]
        one, other = np.where(back, other, one), np.where(back, one, other)
        x, y = np.ascontiguousarray(one.T)
        across, down = np.ascontiguousarray((other - one).T)
        slope = across / down if steep else down / np.maximum(across, 1)
        rows = _steep_rows if steep else _flat_rows
        for side, column in _columns(x, x + across, width):
            fifths = rows(x[side], y[side], slope[side], _SCALE * column + 2)
            yield column * height + np.ceil(np.clip((fifths + 0.5) / _SCALE - 0.5, 0, height)).astype(np.int64)


def _columns(
    one: NDArray[np.int64], other: NDArray[np.int64], width: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield indices of sides and the columns that they cross, in chunks of some thousand."""
    # Column c is crossed between the fifths 5 c + 2 and 5 c + 3.
    first = np.maximum(-((2 - np.minimum(one, other)) // _SCALE), 0)
    number = np.maximum(np.minimum((np.maximum(one, other) - 3) // _SCALE, width - 1) - first + 1, 0)
    ends = np.cumsum(number)
    start = 0
    while start < len(number):
        before = ends[start] - number[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + _CROSSINGS, "right")))
        own = number[start:stop]
        side = np.repeat(np.arange(start, stop), own)
        yield side, np.arange(len(side)) + np.repeat(first[start:stop] + before - ends[start:stop] + own, own)
        start = stop


def _flat_rows(
    x: NDArray[np.int64], y: NDArray[np.int64], slope: NDArray[np.float64], edge: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the row at which sides that step in x pass ``edge``, in fifths: the upper of the two points."""
    step = edge - x
    return np.minimum((y + slope * step + 0.5).astype(np.int64), (y + slope * (step + 1) + 0.5).astype(np.int64))


def _steep_rows(
    x: NDArray[np.int64], y: NDArray[np.int64], slope: NDArray[np.float64], edge: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the row at which sides that step in y pass ``edge``, in fifths: the last step before it."""
    step = np.floor((edge + 0.5 - x) / slope).astype(np.int64)
    for _ in range(2):  # the first step there is this one or one of the next two
        step += ((x + slope * step + 0.5).astype(np.int64) > edge) != (slope > 0)
    return y + step - 1
