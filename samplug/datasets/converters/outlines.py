"""Outlines of masks, for tools that know polygons only."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Ring = NDArray[np.int64]


def components(mask: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], tuple[int, int]]]:
    """The connected parts (8 neighbours) of a mask, from top to bottom.

    Args:
        mask: (H, W) bool.

    Yields:
        A part, cut out as (h, w) bool, and (x, y) of its upper left pixel.
    """
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    for label, (left, top, width, height, _) in enumerate(boxes[1:], start=1):
        yield labels[top : top + height, left : left + width] == label, (int(left), int(top))


def outline(part: NDArray[np.bool_], tolerance: float = 0.0, edges: bool = True) -> Ring | None:
    """A closed polygon around one connected part; holes are joined to it by a slit of no width.

    A slit is walked there and back. Programs that fill by the even-odd or the non-zero rule leave holes open.

    Args:
        part: (h, w) bool, one connected part.
        tolerance: Pixels by which the polygon may leave the part's border; 0: the border itself, step by step.
        edges: True: points are corners of pixels, (0, 0) to (w, h), as COCO and YOLO count. False: middles of border pixels, (0, 0) to
            (w - 1, h - 1), as labelme draws, outline included.

    Returns:
        (N, 2) int64 points (x, y), at least 3; None if nothing is left that covers an area.
    """
    canvas = np.pad(part.astype(np.uint8), 1)
    if edges:
        canvas = canvas.repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(canvas, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outer: Ring | None = None
    holes: list[Ring] = []
    for contour, (*_, parent) in zip(contours, hierarchy[0], strict=True):
        # In doubled pixels, half of a border pixel's place, rounded up, is the corner on the border.
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
    outer = np.concatenate([outer] * 3)[:3] if len(outer) < 3 else outer  # a line of pixels is drawn as its outline
    return _joined(outer, holes)


def _joined(outer: Ring, holes: list[Ring]) -> Ring:
    """One ring of all: the hole that is nearest to what is joined already comes next, so that slits cross no other."""
    waiting = list(holes)
    while waiting:
        tree = cKDTree(outer)
        distances, places = zip(*(tree.query(hole) for hole in waiting), strict=True)
        chosen = int(np.argmin([distance.min() for distance in distances]))
        hole = waiting.pop(chosen)
        start = int(distances[chosen].argmin())
        at = int(places[chosen][start])
        around = np.roll(hole, -start, axis=0)
        outer = np.concatenate([outer[: at + 1], around, around[:1], outer[at:]])
    return outer
