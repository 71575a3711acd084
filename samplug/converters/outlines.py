"""Outline masks with polygons, for tools that know only polygons."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

Ring = NDArray[np.int64]


def connected_parts(mask: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], tuple[int, int]]]:
    """Yield the connected parts (8 neighbours) of a mask, from top to bottom.

    Args:
        mask: (H, W) bool.

    Yields:
        The part, cropped to (h, w) bool, and (x, y) of its upper left pixel.
    """
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    for label, (left, top, width, height, _) in enumerate(boxes[1:], start=1):
        yield labels[top : top + height, left : left + width] == label, (int(left), int(top))


def outline_polygon(part: NDArray[np.bool_], tolerance: float = 0.0, edges: bool = True) -> Ring | None:
    """Trace a closed polygon around one connected part; holes are joined to it by a slit of zero width.

    The polygon passes a slit back and forth. Programs that fill by the even-odd or the non-zero rule leave holes open;
    a program that also draws the outline, as labelme does, marks the pixels of the slit, which seldom crosses another
    hole.

    Args:
        part: (h, w) bool, one connected part.
        tolerance: Largest distance in pixels between polygon and border; 0 follows the border exactly.
        edges: True: points are corners of pixels, from (0, 0) to (w, h), as in COCO and YOLO. False: points are centres
            of border pixels, from (0, 0) to (w - 1, h - 1), as labelme draws them, outline included.

    Returns:
        (N, 2) int64 points (x, y) with N >= 3; None if the polygon would cover no area.
    """
    canvas = np.pad(part.astype(np.uint8), 1)
    if edges:
        canvas = canvas.repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(canvas, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outer: Ring | None = None
    holes: list[Ring] = []
    for contour, (*_, parent) in zip(contours, hierarchy[0], strict=True):
        # Pixels are doubled: half the coordinate of a border pixel, rounded up, is a corner on the border.
        points: Any = (contour + 1) // 2 - 1 if edges else contour - 1
        ring = cv2.approxPolyDP(points.astype(np.int32), tolerance, closed=True)[:, 0].astype(np.int64)
        if len(ring) < 3 and (edges or parent >= 0):
            continue
        if parent < 0:
            outer = ring
        else:
            holes.append(ring)
    if outer is None:
        return None
    outer = np.concatenate([outer] * 3)[:3] if len(outer) < 3 else outer  # a line of pixels equals its outline
    return _joined(outer, holes)


def _joined(outer: Ring, holes: list[Ring]) -> Ring:
    """Join each hole, at its leftmost point, to the nearest point of the outer ring or of a hole further left."""
    if not holes:
        return outer
    rings = [outer, *holes]
    points = np.concatenate(rings)
    owners = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    places = np.concatenate([np.arange(len(ring)) for ring in rings])
    from scipy.spatial import cKDTree  # slower to import than the rest of samplug.converters

    tree = cKDTree(points)
    starts = [int(ring[:, 0].argmin()) for ring in rings]
    # Joining only to the left avoids cycles. Nothing is joined to the rightmost hole, so the order is right to left.
    order = sorted(range(1, len(rings)), key=lambda number: -rings[number][starts[number], 0])
    joined: dict[int, list[tuple[int, Ring]]] = {number: [] for number in range(len(rings))}
    for number in order:
        start = rings[number][starts[number]]
        nearest = _nearest(tree, start, (owners == 0) | (points[:, 0] < start[0]))
        whole = _inserted(rings[number], joined[number], starts[number])
        joined[int(owners[nearest])].append((int(places[nearest]), whole))
    return _inserted(outer, joined[0], 0)[:-1]


def _inserted(ring: Ring, joined: list[tuple[int, Ring]], start: int) -> Ring:
    """Walk a ring from a point back to it, and insert other rings behind the points to which they are joined."""
    pieces = []
    by_place: dict[int, list[Ring]] = {}
    for place, other in joined:
        by_place.setdefault(place, []).append(other)
    around = np.roll(np.arange(len(ring)), -start)
    for place in (*around, start):
        pieces.append(ring[place : place + 1])
        for other in by_place.pop(int(place), ()):
            pieces += [other, ring[place : place + 1]]
    return np.concatenate(pieces)


def _nearest(tree: "cKDTree", point: NDArray[np.int64], allowed: NDArray[np.bool_]) -> int:
    """Find the index of the nearest allowed point; at least one is allowed."""
    number = 16
    while True:
        found = np.atleast_1d(tree.query(point, k=min(number, len(allowed)))[1])
        if allowed[found].any():
            return int(found[allowed[found].argmax()])
        number *= 8
