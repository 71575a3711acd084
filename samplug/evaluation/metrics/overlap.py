"""Metrics of thresholded foreground maps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samplug.evaluation.functional import iou
from samplug.evaluation.metrics.per_image import PerImageMetric, Scores
from samplug.registry import METRICS


@METRICS.register_module()
class OverlapMetric(PerImageMetric):
    """``IoU`` of the foreground, mean over images.

    Args:
        threshold: Foreground is where the probability exceeds it.
        **kwargs: See :class:`PerImageMetric`.
    """

    protocol = "overlap"

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold

    def score(self, pred: NDArray[np.uint8], gt: NDArray[np.bool_]) -> Scores:
        return {"IoU": iou(pred, gt, self.threshold)}
