from samplug.evaluation.metrics.clicks import ClickMetric
from samplug.evaluation.metrics.per_image import (
    BERMetric,
    ForegroundMetric,
    OverlapMetric,
    PerImageMetric,
    SaliencyMetric,
)

__all__ = ["BERMetric", "ClickMetric", "ForegroundMetric", "OverlapMetric", "PerImageMetric", "SaliencyMetric"]
