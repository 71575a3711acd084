from samplug.evaluation.metrics.clicks import ClickMetric
from samplug.evaluation.metrics.heads import HeadAccuracy
from samplug.evaluation.metrics.knn import KNNMetric
from samplug.evaluation.metrics.per_image import (
    BERMetric,
    ForegroundMetric,
    OverlapMetric,
    PerImageMetric,
    SaliencyMetric,
)
from samplug.evaluation.metrics.texture import TextureMetric
from samplug.evaluation.metrics.top_k import TopKAccuracy

__all__ = [
    "BERMetric",
    "ClickMetric",
    "ForegroundMetric",
    "HeadAccuracy",
    "KNNMetric",
    "OverlapMetric",
    "PerImageMetric",
    "SaliencyMetric",
    "TextureMetric",
    "TopKAccuracy",
]
