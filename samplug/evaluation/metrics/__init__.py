from samplug.evaluation.metrics.per_image import BERMetric, OverlapMetric, PerImageMetric, SaliencyMetric

__all__ = ["BERMetric", "OverlapMetric", "PerImageMetric", "SaliencyMetric"]
