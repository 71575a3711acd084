"""Metrics of camouflaged and salient object detection."""

import numpy as np
from numpy.typing import NDArray

from samplug.evaluation.functional import SaliencyCounts, mae, s_measure
from samplug.evaluation.metrics.per_image import PerImageMetric, Scores
from samplug.registry import METRICS


@METRICS.register_module()
class SaliencyMetric(PerImageMetric):
    """``S`` and ``MAE``, means over images, at the truth's own size (:mod:`samplug.evaluation.functional.saliency`)."""

    protocol = "saliency"

    def score(self, pred: NDArray[np.uint8], gt: NDArray[np.bool_]) -> Scores:
        counts = SaliencyCounts.of(pred, gt)
        return {"S": s_measure(counts), "MAE": mae(counts)}
