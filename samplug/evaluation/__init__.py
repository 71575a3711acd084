from samplug.evaluation.metrics import OverlapMetric, SaliencyMetric

__all__ = ["OverlapMetric", "SaliencyMetric"]
