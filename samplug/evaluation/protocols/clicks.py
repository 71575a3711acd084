"""Protocol of interactive segmentation: quality of the masks after each click, and number of clicks to a good mask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samplug.evaluation.functional import boundary_iou
from samplug.evaluation.protocols.base import ImageResult, Protocol, Scores, register_protocol
from samplug.evaluation.protocols.foreground import Labels
from samplug.utils.rle import decode_rle

_THRESHOLDS = (80, 85, 90)
_REPORTED = (1, 3, 5, 10, 20)
_MEASURES = ("IoU", "Dice", "BIoU")


Rle = Mapping[str, Any]
"""A mask as COCO RLE, ``size`` [H, W] and ``counts``."""


@register_protocol
@dataclass(frozen=True)
class Clicks(Protocol[Sequence[Rle], Labels]):
    """Masks of one object after each of T prompts, each of which adds a click to those before; means over objects.

    ``IoU@k`` ``Dice@k`` ``BIoU@k`` are taken after prompt k (a box counts as one): for every k in the scores of an
    object, for k = 1, 3, 5, 10, 20 and T in the summary. ``NoC@t`` is the number of clicks until IoU reaches t percent,
    or T if it never does; ``NoF@t`` is the share of objects that never reach it (Sofiiuk et al., ICIP 2022, report
    their number). Objects without a pixel do not count.
    """

    name = "clicks"
    columns = (
        *(f"NoC@{t}" for t in _THRESHOLDS),
        *(f"NoF@{t}" for t in _THRESHOLDS),
        *(f"{measure}@{k}" for measure in _MEASURES for k in range(1, 1 + max(_REPORTED))),
    )
    lower_is_better = frozenset(name for name in columns if name.startswith("No"))

    def score(self, pred: Sequence[Rle], ground_truth: Labels) -> ImageResult:
        """Score one object.

        Args:
            pred: T masks of the image's size as COCO RLE.
            ground_truth: (H, W) labels: 1 or True = object, 0 = background, 255 = ignored.

        Raises:
            ValueError: The masks differ in size.
        """
        gt, ignored = ground_truth == 1, ground_truth == 255
        valid = ~ignored if ignored.any() else None
        if not gt.any():
            return ImageResult({}, skipped="there is no pixel of the object")
        masks = [decode_rle(rle) for rle in pred]
        if wrong := next((mask.shape for mask in masks if mask.shape != gt.shape), None):
            raise ValueError(f"a mask of {wrong} for a ground truth of {gt.shape}")
        scores: Scores = {}
        ious = []
        for k, mask in enumerate(masks, start=1):
            found = mask if valid is None else mask & valid
            both = np.count_nonzero(found & gt)
            area = np.count_nonzero(found) + np.count_nonzero(gt)
            ious.append(both / (area - both))
            scores |= {
                f"IoU@{k}": ious[-1],
                f"Dice@{k}": 2 * both / area,
                f"BIoU@{k}": boundary_iou(mask, gt, valid=valid),
            }
        return ImageResult(clicks_to(ious) | scores)

    def summarise(self, results: Sequence[ImageResult]) -> Scores:
        means = super().summarise(results)
        last = max((int(name.partition("@")[2]) for name in means if name.startswith("IoU@")), default=0)
        return {
            name: value
            for name, value in means.items()
            if int(name.partition("@")[2]) in (*_REPORTED, *_THRESHOLDS, last)
        }


def clicks_to(ious: Sequence[float]) -> Scores:
    """Return ``NoC@t`` and ``NoF@t`` of one object from its IoU after each click; empty for a single click."""
    scores: Scores = {}
    if len(ious) > 1:
        for t in _THRESHOLDS:
            reached = [k for k, iou in enumerate(ious, start=1) if iou >= t / 100]
            scores |= {f"NoC@{t}": float(reached[0] if reached else len(ious)), f"NoF@{t}": float(not reached)}
    return scores
