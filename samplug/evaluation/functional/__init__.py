"""Measures of a foreground map as pure functions over arrays; no torch, no MMEngine."""

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
    "mae",
    "overlap_scores",
    "quantise",
    "s_measure",
    "weighted_f",
]
