from samplug.evaluation.metrics.clicks import ClickMetric
from samplug.evaluation.metrics.per_image import BERMetric, OverlapMetric, PerImageMetric, SaliencyMetric

__all__ = ["BERMetric", "ClickMetric", "OverlapMetric", "PerImageMetric", "SaliencyMetric"]
