"""Partition a square into random regions: smooth areas, nearly straight ones, or an object on a background."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samplug.datasets.synthetic.textures import smooth_noise

Labels = NDArray[np.uint8]

_SMALLEST = 0.06  # smallest share of the square for a region
_GRID = 64  # side of random fields, which are then enlarged: they are smoother than that
_SCALE = (0.12, 0.35)  # scale of smooth areas as a share of the side
_POINTS_OF_OUTLINE = 48


def partition(rng: Generator, size: int, regions: int) -> Labels:
    """Partition a square into regions of at least 6 % of the pixels; half of the pairs are an object on a background.

    Args:
        rng: Random generator.
        size: Side of the square in pixels.
        regions: Number of regions.

    Returns:
        Labels (size, size) uint8, 0..regions-1; in the case of an object 1 is the object.
    """
    draw = _smooth_areas if rng.random() < 0.6 else _straight_areas
    if regions == 2 and rng.random() < 0.5:
        draw = _object
    while True:
        labels = draw(rng, size, regions)
        if np.bincount(labels.ravel(), minlength=regions).min() >= _SMALLEST * size**2:
            return labels


def _object(rng: Generator, size: int, regions: int) -> Labels:
    """Draw a smooth closed outline or a polygon of 3 to 6 corners, stretched and rotated; the border may cut it."""
    smooth = rng.random() < 0.6
    corners = _POINTS_OF_OUTLINE if smooth else int(rng.integers(3, 7))
    angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii: NDArray[np.float64] = np.ones(corners)
    for harmonic in range(1, 5) if smooth else ():
        radii += rng.normal(0, 0.22 / harmonic) * np.cos(harmonic * angles + rng.uniform(0, 2 * np.pi))
    radii = radii.clip(0.1) * rng.uniform(0.15, 0.45) * size
    x, y = radii * np.cos(angles) * rng.uniform(0.5, 1.6), radii * np.sin(angles)
    turn, centre = rng.uniform(0, np.pi), rng.uniform(0.25, 0.75, 2) * size
    turned = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)
    labels = np.zeros((size, size), np.uint8)
    cv2.fillPoly(labels, [(centre + turned).round().astype(np.int32)], 1)
    return labels


def _smooth_areas(rng: Generator, size: int, regions: int) -> Labels:
    """Give each pixel to the largest of smooth fields with ripples."""
    scale, ripples = rng.uniform(*_SCALE) * _GRID, rng.uniform(0, 0.25)
    # The noise wraps around: the part that is cut out does not.
    fields = [
        smooth_noise(rng, 2 * _GRID, scale)[:_GRID, :_GRID] + ripples * smooth_noise(rng, _GRID, scale / 6)
        for _ in range(regions)
    ]
    return _largest(rng, size, fields)


def _straight_areas(rng: Generator, size: int, regions: int) -> Labels:
    """Give each pixel to the nearest of random points, with slightly bent boundaries."""
    y, x = np.mgrid[:_GRID, :_GRID].astype(np.float32) / _GRID
    wobble = rng.uniform(0, 0.02) * smooth_noise(rng, _GRID, _GRID / 16)
    fields = [-np.hypot(y - py + wobble, x - px) for py, px in rng.uniform(-0.3, 1.3, (regions, 2))]
    return _largest(rng, size, fields)


def _largest(rng: Generator, size: int, fields: Sequence[NDArray[Any]]) -> Labels:
    """Enlarge (half of the time a random crop of) fields of the grid, and return the index of the largest."""
    side = int(rng.integers(_GRID // 2, _GRID + 1)) if rng.random() < 0.5 else _GRID
    top, left = (int(start) for start in rng.integers(0, _GRID - side + 1, 2))
    crops = (field[top : top + side, left : left + side].astype(np.float32) for field in fields)
    enlarged = [cv2.resize(crop, (size, size), interpolation=cv2.INTER_CUBIC) for crop in crops]
    return np.argmax(enlarged, axis=0).astype(np.uint8)
