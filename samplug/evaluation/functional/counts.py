"""Exact integer histograms of a prediction, from which nearly every measure of a foreground map is computed.

A prediction has 256 levels, so every sum over pixels is a sum over a histogram: all measures share one pass.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.uint8]
Mask = NDArray[np.bool_]

# cv2.calcHist counts in float32, exact below 2**24.
_EXACT = 1 << 24


def quantise(probability: NDArray[np.floating]) -> Map:
    """Convert probabilities in [0, 1] to the map that is saved and scored: round(255 p), half to even, uint8."""
    return np.round(np.asarray(probability, np.float64) * 255).astype(np.uint8)


def check_pair(pred: Map, gt: Mask) -> None:
    """Raise ValueError unless pred is (H, W) uint8 and gt (H, W) bool of the same size, with pixels."""
    if pred.dtype != np.uint8 or gt.dtype != np.bool_:
        raise ValueError(f"expected a uint8 prediction and a bool ground truth, got {pred.dtype} and {gt.dtype}")
    if pred.shape != gt.shape or pred.ndim != 2 or not pred.size:
        raise ValueError(
            f"prediction {pred.shape} and ground truth {gt.shape} must be maps (H, W) of one size with pixels in them"
        )


def histogram(pred: Map, mask: Mask | None = None) -> NDArray[np.int64]:
    """Count the levels of ``pred`` (H, W) uint8 where ``mask`` (H, W) bool is True: (256,) int64."""
    if mask is not None:
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        if not width:
            return np.zeros(256, np.int64)
        pred, mask = pred[y : y + height, x : x + width], mask[y : y + height, x : x + width]
    rows = max(1, (_EXACT - 1) // pred.shape[1])
    total = np.zeros(256, np.int64)
    for start in range(0, pred.shape[0], rows):
        part = slice(start, start + rows)
        chosen = None if mask is None else mask[part].view(np.uint8)
        total += cv2.calcHist([pred[part]], [0], chosen, [256], [0, 256]).ravel().astype(np.int64)
    return total


@dataclass(frozen=True)
class LevelCounts:
    """Pixel counts of a prediction by class and level.

    Attributes:
        by_class: (2, 256) int64: background, foreground; level.
    """

    by_class: NDArray[np.int64]

    @classmethod
    def of(cls, pred: Map, gt: Mask, valid: Mask | None = None) -> "LevelCounts":
        """Count the pixels of an image.

        Args:
            pred: (H, W) uint8, 255 = certain foreground.
            gt: (H, W) bool, True = foreground.
            valid: (H, W) bool: pixels that count; None: all.

        Raises:
            ValueError: Other types, another shape, or no pixels.
        """
        check_pair(pred, gt)
        foreground = histogram(pred, gt if valid is None else gt & valid)
        return cls(np.stack([histogram(pred, valid) - foreground, foreground]))

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        """(256,) value of each level after the stretch to [0, 1]; a constant prediction is not stretched."""
        present = np.flatnonzero(self.by_class.sum(axis=0))
        values = np.arange(256) / 255
        if len(present) < 2:
            return values
        low, high = present[0], present[-1]
        return (values - values[low]) / (values[high] - values[low])

    @property
    def foreground(self) -> int:
        """Number of foreground pixels."""
        return int(self.by_class[1].sum())

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(self.by_class.sum())

    @cached_property
    def mean(self) -> float:
        """Mean of the stretched prediction."""
        return float(self.by_class.sum(axis=0) @ self.levels) / self.size

    @cached_property
    def curves(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """True and false positives, (256,) int64 each, where the stretched level reaches 255/255, 254/255, ..., 0/255.

        Levels are rounded down to multiples of 1/255 after the stretch, as in PySODMetrics.
        """
        steps = (self.levels.clip(0, 1) * 255).astype(np.uint8)
        background, foreground = (np.bincount(steps, row, minlength=256).astype(np.int64) for row in self.by_class)
        return np.cumsum(foreground[::-1]), np.cumsum(background[::-1])

    def adaptive(self) -> tuple[int, int]:
        """True and false positives where the stretched prediction reaches twice its mean (at most 1)."""
        chosen = self.levels >= min(2 * self.mean, 1)
        return int(self.by_class[1, chosen].sum()), int(self.by_class[0, chosen].sum())

    def above(self, threshold: float, stretch: bool = False) -> tuple[int, int]:
        """True and false positives where the prediction, as a fraction of 255, exceeds a threshold.

        Args:
            threshold: In [0, 1].
            stretch: Compare the stretched prediction, as PySODMetrics does.
        """
        chosen = self.levels > threshold if stretch else np.arange(256) > 255 * threshold
        return int(self.by_class[1, chosen].sum()), int(self.by_class[0, chosen].sum())
