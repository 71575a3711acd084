"""Measures of salient and camouflaged object detection, from exact integer histograms.

Definitions as in PySODMetrics 1.6.2, which the tests compare with: the prediction is stretched to [0, 1] unless it is
constant. Curves run over the thresholds 255/255, 254/255, ..., 0/255. The ``'tssam'`` mode of the S-measure follows
TS-SAM's own code.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samplug.evaluation.functional.counts import LevelCounts, Map, Mask, check_pair, histogram

EPS = float(np.spacing(1))


@dataclass(frozen=True)
class SaliencyCounts(LevelCounts):
    """Pixel counts of a prediction by class and level, in the image and in each quadrant.

    The quadrants meet at the foreground's centroid; the S-measure needs them.

    Attributes:
        quadrants: (4, 2, 256) int64: top left, top right, bottom left, bottom right; background, foreground; level.
        shape: (H, W).
        split: Row and column where the lower and the right quadrants begin.
    """

    quadrants: NDArray[np.int64]
    shape: tuple[int, int]
    split: tuple[int, int]

    @classmethod
    def of(cls, pred: Map, gt: Mask, valid: Mask | None = None) -> "SaliencyCounts":
        """Count the pixels of an image.

        Args:
            pred: (H, W) uint8.
            gt: (H, W) bool, True = foreground.
            valid: Must be None: structure is not defined with holes in the image.

        Raises:
            ValueError: Other types, another shape, no pixels, or ``valid`` given.
        """
        if valid is not None:
            raise ValueError("saliency measures are not defined where pixels are left out")
        check_pair(pred, gt)
        split = _split_point(gt)
        quadrants = np.zeros((4, 2, 256), np.int64)
        for counts, part in zip(quadrants, _parts(split), strict=True):
            if pred[part].size:
                counts[1] = histogram(pred[part], gt[part])
                counts[0] = histogram(pred[part]) - counts[1]
        return cls(quadrants.sum(axis=0), quadrants, (gt.shape[0], gt.shape[1]), split)


def mae(counts: LevelCounts) -> float:
    """Compute the mean absolute error between stretched prediction and ground truth, in [0, 1]."""
    background, foreground = counts.by_class
    return float((background @ counts.levels + foreground @ (1 - counts.levels)) / counts.size)


def e_curve(counts: LevelCounts) -> NDArray[np.float64]:
    """Compute the enhanced-alignment measure (Fan et al., IJCAI 2018) at 256 thresholds.

    Returns:
        (256,) in [0, size / (size - 1)].
    """
    return _e_measure(counts, *counts.curves)


def e_adaptive(counts: LevelCounts) -> float:
    """Compute the enhanced-alignment measure at twice the mean of the prediction.

    At this threshold an all-zero prediction is all foreground.
    """
    true, false = counts.adaptive()
    return float(_e_measure(counts, np.array([true]), np.array([false]))[0])


def f_curve(counts: LevelCounts, beta2: float = 0.3) -> NDArray[np.float64]:
    """Compute the F-measure at 256 thresholds: (256,) in [0, 1]; 0 where nothing is found."""
    true, false = counts.curves
    precision = true / np.maximum(true + false, 1)
    recall = true / max(counts.foreground, 1)
    return _f_measure(precision, recall, beta2)


def f_adaptive(counts: LevelCounts, beta2: float = 0.3) -> float:
    """Compute the F-measure at twice the mean of the prediction, in [0, 1]; 0 if nothing is found."""
    true, false = counts.adaptive()
    precision, recall = true / max(true + false, 1), true / max(counts.foreground, 1)
    return float(_f_measure(np.array([precision]), np.array([recall]), beta2)[0])


def s_measure(counts: SaliencyCounts, alpha: float = 0.5, mode: Literal["standard", "tssam"] = "standard") -> float:
    """Compute the structure measure in [0, 1] (Fan et al., ICCV 2017): ``alpha`` object part + (1 - alpha) region part.

    A quadrant without pixels (centroid in the last row or column) has weight 0, where PySODMetrics gives NaN.

    Args:
        counts: Counts of the image.
        alpha: Weight of the object part.
        mode: ``'tssam'``: 0 where TS-SAM's code meets NaN, that is for an empty quadrant or a single pixel of
            foreground or background.
    """
    share = counts.foreground / counts.size
    if share == 0:
        return 1 - counts.mean
    if share == 1:
        return counts.mean
    if mode == "tssam" and (
        1 in (counts.foreground, counts.size - counts.foreground) or not counts.quadrants.any(axis=(1, 2)).all()
    ):
        return 0.0
    background, foreground = counts.by_class
    of_object = share * _object_score(foreground, counts.levels) + (1 - share) * _object_score(
        background, 1 - counts.levels
    )
    of_region = sum(
        quadrant.sum() / counts.size * _ssim(quadrant, counts, part)
        for quadrant, part in zip(counts.quadrants, _parts(counts.split), strict=True)
    )
    return float(max(0.0, alpha * of_object + (1 - alpha) * of_region))


def _e_measure(counts: LevelCounts, true: NDArray[np.int64], false: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the E-measure of binary maps from their true and false positives."""
    size, foreground = counts.size, counts.foreground
    predicted = true + false
    if foreground == 0:
        aligned = (size - predicted).astype(np.float64)
    elif foreground == size:
        aligned = predicted.astype(np.float64)
    else:
        mean_pred, mean_gt = predicted / size, foreground / size
        missed = foreground - true
        aligned = np.zeros(len(true))
        for number, of_pred, of_gt in (
            (true, 1 - mean_pred, 1 - mean_gt),
            (false, 1 - mean_pred, -mean_gt),
            (missed, -mean_pred, 1 - mean_gt),
            (size - predicted - missed, -mean_pred, -mean_gt),
        ):
            agreement = 2 * of_pred * of_gt / (of_pred**2 + of_gt**2 + EPS)
            aligned += number * (agreement + 1) ** 2 / 4
    return aligned / (size - 1 + EPS)


def _f_measure(precision: NDArray[np.float64], recall: NDArray[np.float64], beta2: float) -> NDArray[np.float64]:
    numerator = (1 + beta2) * precision * recall
    return numerator / np.where(numerator == 0, 1, beta2 * precision + recall)


def _parts(split: tuple[int, int]) -> tuple[tuple[slice, slice], ...]:
    """Return the slices of the four quadrants."""
    row, column = split
    top, bottom, left, right = slice(None, row), slice(row, None), slice(None, column), slice(column, None)
    return (top, left), (top, right), (bottom, left), (bottom, right)


def _split_point(gt: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the row and column where the quadrants meet.

    They are the rounded centroid of the foreground, or else the image's centre, plus one.
    """
    rows, columns = gt.sum(axis=1), gt.sum(axis=0)
    total = int(rows.sum())
    height, width = gt.shape
    if total == 0:
        row, column = np.round(height / 2), np.round(width / 2)
    else:
        row, column = np.round(rows @ np.arange(height) / total), np.round(columns @ np.arange(width) / total)
    return int(row) + 1, int(column) + 1


def _object_score(histogram: NDArray[np.int64], levels: NDArray[np.float64]) -> float:
    total = int(histogram.sum())
    mean = float(histogram @ levels) / total
    deviation = np.sqrt(float(histogram @ (levels - mean) ** 2) / (total - 1)) if total > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + deviation + EPS)


def _ssim(quadrant: NDArray[np.int64], counts: SaliencyCounts, part: tuple[slice, slice]) -> float:
    """Compute the similarity of prediction and ground truth in one quadrant.

    Means, variances and covariance have denominators N - 1.
    """
    total = int(quadrant.sum())
    if total == 0:
        return 0.0
    both = quadrant.sum(axis=0)
    present = np.flatnonzero(both)
    foreground = int(quadrant[1].sum())
    if len(present) == 1:
        if 0 < foreground < total:  # no covariance with a constant
            return 0.0
        # Two constants are alike, unless the reference's mean of a constant is off by rounding: follow it.
        value = counts.levels[present[0]]
        return float(np.full(counts.shape, value)[part].mean() == value)
    if foreground in (0, total):
        return 0.0
    x, y = float(both @ counts.levels) / total, foreground / total
    centred = counts.levels - x
    scale = 1 / (total - 1 + EPS)
    var_x = float(both @ centred**2) * scale
    var_y = total * y * (1 - y) * scale
    covariance = float(quadrant[1] @ centred * (1 - y) - quadrant[0] @ centred * y) * scale
    return 4 * x * y * covariance / ((x**2 + y**2) * (var_x + var_y) + EPS)
