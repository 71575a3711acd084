"""Weighted F-measure (Margolin et al., CVPR 2014)."""

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.evaluation.functional.counts import LevelCounts, Map, Mask, check_pair
from samplug.evaluation.functional.saliency import EPS

# 7x7 Gaussian of sigma 5, separable; pixels farther from the foreground than its reach do not matter.
_REACH = 3
_KERNEL = np.exp(-(np.arange(-_REACH, _REACH + 1) ** 2) / (2 * 5.0**2))
_KERNEL /= _KERNEL.sum()

# Offsets at which the nearest foreground pixel of a pixel in reach can lie. Ties are broken by the smaller column, then
# the smaller row, as in SciPy's distance transform, which the reference uses.
_OFFSETS = sorted(
    (dy * dy + dx * dx, dx, dy)
    for dy in range(-2 * _REACH, 2 * _REACH + 1)
    for dx in range(-2 * _REACH, 2 * _REACH + 1)
    if 0 < dy * dy + dx * dx <= 2 * _REACH * _REACH
)


def weighted_f(pred: Map, gt: Mask, beta2: float = 1.0, counts: LevelCounts | None = None) -> float:
    """Compute the weighted F-measure in [0, 1] of the stretched prediction; 0 if the ground truth is empty.

    Errors in the foreground count less where their surroundings (7x7 Gaussian) are right; errors in the background
    count more the farther they are from the foreground. The value depends on the resolution.

    Args:
        pred: (H, W) uint8, 255 = certain foreground.
        gt: (H, W) bool.
        beta2: Weight of precision; 1 in the literature, 0.3 in TS-SAM and SAM-Adapter.
        counts: Counts of the same pair; None: they are computed.

    Raises:
        ValueError: Other types, another shape, or no pixels.
    """
    check_pair(pred, gt)
    if not gt.any():
        return 0.0
    counts = counts or LevelCounts.of(pred, gt)
    total = counts.foreground
    of_foreground = _foreground_error(pred, gt, counts.levels)
    of_background = _background_error(pred, gt, counts.levels)
    found = total - of_foreground
    recall = 1 - of_foreground / total
    precision = found / (found + of_background + EPS)
    return float((1 + beta2) * recall * precision / (recall + beta2 * precision + EPS))


def _foreground_error(pred: Map, gt: Mask, levels: NDArray[np.float64]) -> float:
    """Sum the error over the foreground, or where that is smaller, the error smoothed over its neighbourhood."""
    top, bottom = _extent(np.asarray(gt.any(axis=1)))
    left, right = _extent(np.asarray(gt.any(axis=0)))
    part = slice(max(0, top - _REACH), bottom + _REACH), slice(max(0, left - _REACH), right + _REACH)
    inside = np.ascontiguousarray(gt[part])
    error: NDArray[np.float32] = cv2.LUT(np.ascontiguousarray(pred[part]), (1 - levels).astype(np.float32))  # type: ignore[assignment]
    # The background takes the error of the nearest foreground pixel, as far as the kernel reaches from the foreground.
    reach = cv2.dilate(inside.view(np.uint8), np.ones((2 * _REACH + 1,) * 2, np.uint8)).view(np.bool_)
    error[~reach] = 0
    _fill_from_nearest(error, inside, np.flatnonzero(reach & ~inside))
    smooth = cv2.sepFilter2D(error, cv2.CV_32F, _KERNEL, _KERNEL, borderType=cv2.BORDER_CONSTANT)
    chosen = cv2.min(error, smooth)[inside]
    return float(chosen.sum(dtype=np.float64))


def _fill_from_nearest(error: NDArray[np.float32], inside: Mask, unknown: NDArray[np.intp]) -> None:
    """Copy to each unknown pixel (flat index) the error of its nearest pixel inside, in place."""
    margin = 2 * _REACH
    width = error.shape[1]
    padded_width = width + 2 * margin
    padded = np.pad(inside, margin).ravel()
    rows, columns = np.divmod(unknown, width)
    position = (rows + margin) * padded_width + columns + margin
    flat = error.ravel()
    for _, dx, dy in _OFFSETS:
        if not len(unknown):
            break
        hit = padded[position + (dy * padded_width + dx)]
        target = unknown[hit]
        flat[target] = flat[target + (dy * width + dx)]
        unknown, position = unknown[~hit], position[~hit]


def _background_error(pred: Map, gt: Mask, levels: NDArray[np.float64]) -> float:
    """Sum error times importance over the background; the importance grows from 1 at the foreground to 2 far away."""
    background = (~gt).view(np.uint8)
    error_of = levels.astype(np.float32)
    error_of[0] = 0  # level 0 either has no error or does not occur, so it can stand for the foreground
    error = cv2.LUT(pred * background, error_of)
    distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    forgiven = np.exp(distance * np.float32(np.log(0.5) / 5))
    return float(2 * error.sum(dtype=np.float64) - (error * forgiven).sum(dtype=np.float64))


def _extent(line: Mask) -> tuple[int, int]:
    """Return the index of the first True and one past the last."""
    chosen = np.flatnonzero(line)
    return int(chosen[0]), int(chosen[-1]) + 1
