"""Overlap of a thresholded prediction with the truth."""

import numpy as np
from numpy.typing import NDArray

from samplug.evaluation.functional.saliency import check_pair


def iou(pred: NDArray[np.uint8], gt: NDArray[np.bool_], threshold: float = 0.5) -> float:
    """Intersection over union of the foreground, in [0, 1].

    Args:
        pred: (H, W) uint8, 255 = certain foreground.
        gt: (H, W) bool.
        threshold: Foreground is where pred / 255 exceeds it.

    Returns:
        1 if both are empty.
    """
    check_pair(pred, gt)
    chosen = pred > 255 * threshold
    union = np.count_nonzero(chosen | gt)
    return np.count_nonzero(chosen & gt) / union if union else 1.0
