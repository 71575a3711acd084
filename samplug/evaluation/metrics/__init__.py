from samplug.evaluation.metrics.clicks import ClickMetric
from samplug.evaluation.metrics.heads import HeadAccuracy
from samplug.evaluation.metrics.per_image import (
    BERMetric,
    ForegroundMetric,
    OverlapMetric,
    PerImageMetric,
    SaliencyMetric,
)
from samplug.evaluation.metrics.texture import TextureMetric

__all__ = [
    "BERMetric",
    "ClickMetric",
    "ForegroundMetric",
    "HeadAccuracy",
    "OverlapMetric",
    "PerImageMetric",
    "SaliencyMetric",
    "TextureMetric",
]
