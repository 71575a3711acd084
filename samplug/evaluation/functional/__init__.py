from samplug.evaluation.functional.overlap import iou
from samplug.evaluation.functional.saliency import SaliencyCounts, mae, quantise, s_measure

__all__ = ["SaliencyCounts", "iou", "mae", "quantise", "s_measure"]
