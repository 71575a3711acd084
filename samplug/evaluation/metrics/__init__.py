from samplug.evaluation.metrics.overlap import OverlapMetric
from samplug.evaluation.metrics.per_image import PerImageMetric
from samplug.evaluation.metrics.saliency import SaliencyMetric

__all__ = ["OverlapMetric", "PerImageMetric", "SaliencyMetric"]
