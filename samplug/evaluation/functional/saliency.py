"""Saliency measures of one prediction, from exact integer histograms.

Definitions as in PySODMetrics 1.6.2, which the tests compare with: the prediction is stretched to [0, 1] unless it is constant.
A prediction has 256 levels, so every sum over pixels is a sum over a histogram: one pass over the image serves all measures.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_EPS = float(np.spacing(1))


def quantise(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Probabilities in [0, 1] to the map that is saved and scored: round(255 p), half to even, uint8."""
    return np.round(np.asarray(probability, np.float64) * 255).astype(np.uint8)


@dataclass(frozen=True)
class SaliencyCounts:
    """Pixel counts of a prediction by level, class and quadrant.

    The quadrants meet at the foreground's centroid (S-measure); all other measures sum over them.

    Attributes:
        quadrants: (4, 2, 256) int64: top left, top right, bottom left, bottom right; background, foreground; level.
        shape: (H, W).
        split: Row and column where the lower and the right quadrants begin.
    """

    quadrants: NDArray[np.int64]
    shape: tuple[int, int]
    split: tuple[int, int]

    @classmethod
    def of(cls, pred: NDArray[np.uint8], gt: NDArray[np.bool_]) -> "SaliencyCounts":
        """Count.

        Args:
            pred: (H, W) uint8.
            gt: (H, W) bool, True = foreground.

        Raises:
            ValueError: Other types, another shape, or no pixels.
        """
        check_pair(pred, gt)
        split = _split_point(gt)
        key = pred.astype(np.int16) + np.int16(256) * gt
        counts = [np.bincount(key[part].ravel(), minlength=512).reshape(2, 256) for part in _parts(split)]
        return cls(np.stack(counts), (gt.shape[0], gt.shape[1]), split)

    @cached_property
    def by_class(self) -> NDArray[np.int64]:
        """(2, 256) counts of the whole image: background, foreground."""
        return self.quadrants.sum(axis=0)

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        """(256,) value of each level after the stretch to [0, 1]."""
        present = np.flatnonzero(self.by_class.sum(axis=0))
        low, high = present[0], present[-1]
        values = np.arange(256) / 255
        return values if low == high else (values - values[low]) / (values[high] - values[low])

    @property
    def foreground(self) -> int:
        """Number of foreground pixels."""
        return int(self.by_class[1].sum())

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(self.by_class.sum())


def check_pair(pred: NDArray[np.uint8], gt: NDArray[np.bool_]) -> None:
    """Raise ValueError unless pred is (H, W) uint8 and gt (H, W) bool of the same size, with pixels."""
    if pred.dtype != np.uint8 or gt.dtype != np.bool_:
        raise ValueError(f"expected a uint8 prediction and a bool truth, got {pred.dtype} and {gt.dtype}")
    if pred.shape != gt.shape or pred.ndim != 2 or not pred.size:
        raise ValueError(
            f"prediction {pred.shape} and truth {gt.shape} must be maps (H, W) of one size with pixels in them"
        )


def mae(counts: SaliencyCounts) -> float:
    """Mean absolute error between stretched prediction and truth, in [0, 1]."""
    background, foreground = counts.by_class
    return float((background @ counts.levels + foreground @ (1 - counts.levels)) / counts.size)


def s_measure(counts: SaliencyCounts, alpha: float = 0.5) -> float:
    """Structure measure in [0, 1] (Fan et al., ICCV 2017): ``alpha`` object part + (1 - alpha) region part.

    A quadrant without pixels (centroid in the last row or column) has weight 0, where PySODMetrics gives NaN.
    """
    share = counts.foreground / counts.size
    mean = float(counts.by_class.sum(axis=0) @ counts.levels) / counts.size
    if share == 0:
        return 1 - mean
    if share == 1:
        return mean
    background, foreground = counts.by_class
    of_object = share * _object_score(foreground, counts.levels) + (1 - share) * _object_score(
        background, 1 - counts.levels
    )
    of_region = sum(
        quadrant.sum() / counts.size * _ssim(quadrant, counts, part)
        for quadrant, part in zip(counts.quadrants, _parts(counts.split), strict=True)
    )
    return float(max(0.0, alpha * of_object + (1 - alpha) * of_region))


def _parts(split: tuple[int, int]) -> tuple[tuple[slice, slice], ...]:
    """Slices of the four quadrants."""
    row, column = split
    top, bottom, left, right = slice(None, row), slice(row, None), slice(None, column), slice(column, None)
    return (top, left), (top, right), (bottom, left), (bottom, right)


def _split_point(gt: NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column where the quadrants meet: the rounded centroid of the foreground (image centre if none), plus one."""
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
    return 2 * mean / (mean**2 + 1 + deviation + _EPS)


def _ssim(quadrant: NDArray[np.int64], counts: SaliencyCounts, part: tuple[slice, slice]) -> float:
    """Similarity of prediction and truth in one quadrant, by means, variances and covariance (denominators N - 1)."""
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
    scale = 1 / (total - 1 + _EPS)
    var_x = float(both @ centred**2) * scale
    var_y = total * y * (1 - y) * scale
    covariance = float(quadrant[1] @ centred * (1 - y) - quadrant[0] @ centred * y) * scale
    return 4 * x * y * covariance / ((x**2 + y**2) * (var_x + var_y) + _EPS)
