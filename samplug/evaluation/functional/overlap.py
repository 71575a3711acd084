"""Overlap of foreground maps: at one threshold, over all thresholds, and of boundaries."""

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.evaluation.functional.counts import LevelCounts, Mask


def overlap_scores(counts: LevelCounts, threshold: float = 0.5, stretch: bool = False) -> dict[str, float]:
    """Compute the overlap at one threshold.

    A ratio 0/0 is 1 if prediction and ground truth are both empty and 0 otherwise.

    Args:
        counts: Counts of the image.
        threshold: Foreground is where the prediction, as a fraction of 255, exceeds it.
        stretch: Stretch the prediction to [0, 1] first, as PySODMetrics does.

    Returns:
        ``Dice`` ``IoU`` ``Acc`` (of pixels) ``Sensitivity`` (recall) ``Precision``, each in [0, 1].
    """
    true, false = counts.above(threshold, stretch)
    missed = counts.foreground - true
    empty = 1.0 if counts.foreground == 0 and true + false == 0 else 0.0

    def ratio(numerator: int, denominator: int) -> float:
        return numerator / denominator if denominator else empty

    return {
        "Dice": ratio(2 * true, 2 * true + false + missed),
        "IoU": ratio(true, true + false + missed),
        "Acc": (counts.size - false - missed) / counts.size,
        "Sensitivity": ratio(true, true + missed),
        "Precision": ratio(true, true + false),
    }


def dice_curve(counts: LevelCounts) -> NDArray[np.float64]:
    """Compute Dice of the stretched prediction at 256 thresholds: (256,) in [0, 1], 0 for an empty ground truth.

    Its mean is the "mDice" of polyp papers (PraNet). It is below 1 for a perfect map: at threshold 0 all is foreground.
    """
    true, false = counts.curves
    return 2 * true / np.maximum(true + false + counts.foreground, 1)


def iou_curve(counts: LevelCounts) -> NDArray[np.float64]:
    """Compute IoU of the stretched prediction at 256 thresholds: (256,), see :func:`dice_curve`."""
    true, false = counts.curves
    return true / np.maximum(false + counts.foreground, 1)


def boundary_iou(pred: Mask, gt: Mask, dilation_ratio: float = 0.02, valid: Mask | None = None) -> float:
    """Compute boundary IoU (Cheng et al., CVPR 2021): the IoU of the parts of both masks near their own contours.

    Args:
        pred: (H, W) bool.
        gt: (H, W) bool.
        dilation_ratio: Width of the boundary as a fraction of the image's diagonal; it is at least one pixel.
        valid: (H, W) bool: pixels that count; None: all.

    Returns:
        Value in [0, 1]; 1 if both are empty. The image's border counts as a contour.
    """
    distance = max(1, round(dilation_ratio * float(np.hypot(gt.shape[0], gt.shape[1]))))
    inner_pred, inner_gt = _boundary(pred, distance), _boundary(gt, distance)
    if valid is not None:
        inner_pred, inner_gt = inner_pred & valid, inner_gt & valid
    union = np.count_nonzero(inner_pred | inner_gt)
    return np.count_nonzero(inner_pred & inner_gt) / union if union else 1.0


def _boundary(mask: Mask, distance: int) -> Mask:
    """Return the pixels of a mask within ``distance`` (chessboard) of its outside."""
    padded = np.pad(mask.view(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return mask & ~eroded.view(np.bool_)
