"""Pure functions: measures of foreground maps on arrays, without torch and MMEngine, and of features on tensors.

``knn_scores`` is imported on first use, so that scoring processes start without torch.
"""

from typing import TYPE_CHECKING, Any

from samplug.evaluation.functional.counts import LevelCounts, quantise
from samplug.evaluation.functional.overlap import boundary_iou, dice_curve, iou_curve, overlap_scores
from samplug.evaluation.functional.saliency import (
    SaliencyCounts,
    e_adaptive,
    e_curve,
    f_adaptive,
    f_curve,
    mae,
    s_measure,
)
from samplug.evaluation.functional.shadow import Confusion
from samplug.evaluation.functional.weighted_f import weighted_f

if TYPE_CHECKING:
    from samplug.evaluation.functional.knn import knn_scores

__all__ = [
    "Confusion",
    "LevelCounts",
    "SaliencyCounts",
    "boundary_iou",
    "dice_curve",
    "e_adaptive",
    "e_curve",
    "f_adaptive",
    "f_curve",
    "iou_curve",
    "knn_scores",
    "mae",
    "overlap_scores",
    "quantise",
    "s_measure",
    "weighted_f",
]


def __getattr__(name: str) -> Any:
    if name != "knn_scores":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from samplug.evaluation.functional.knn import knn_scores

    return knn_scores
