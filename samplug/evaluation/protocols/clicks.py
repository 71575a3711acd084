"""Interactive segmentation: how good masks are after each click, and how many clicks a good mask takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samplug.evaluation.functional import boundary_iou
from samplug.evaluation.functional.counts import Mask
from samplug.evaluation.protocols.foreground import ImageResult, Protocol, Scores
from samplug.utils.rle import decode_rle

_THRESHOLDS = (80, 85, 90)
_REPORTED = (1, 3, 5, 10, 20)
_MEASURES = ("IoU", "Dice", "BIoU")


@dataclass(frozen=True)
class Clicks(Protocol):
    """The answers to T prompts for one object, each with one click more than the one before it; means over objects.

    ``IoU@k`` ``Dice@k`` ``BIoU@k`` are those after prompt k (a box counts as one), of every k in the scores of an object and of k = 1, 3, 5,
    10, 20 and T in the summary. ``NoC@t`` is the number of clicks until IoU reaches t percent, T where it never does; ``NoF@t`` the share of
    such objects (Sofiiuk et al., ICIP 2022, who count them). Objects without a pixel do not count.
    """

    name = "clicks"
    columns = (
        *(f"NoC@{t}" for t in _THRESHOLDS),
        *(f"NoF@{t}" for t in _THRESHOLDS),
        *(f"{measure}@{k}" for measure in _MEASURES for k in range(1, 1 + max(_REPORTED))),
    )
    lower_is_better = frozenset(name for name in columns if name.startswith("No"))

    def score(self, pred: Sequence[Mapping[str, Any]], gt: Mask, valid: Mask | None = None) -> ImageResult:  # type: ignore[override]
        """Score one object.

        Args:
            pred: T masks of the image's size as COCO RLE.
            gt: (H, W) bool.
            valid: (H, W) bool: pixels that count; None: all.

        Raises:
            ValueError: The masks differ in size.
        """
        if not (gt if valid is None else gt & valid).any():
            return ImageResult({}, skipped="there is no pixel of the object")
        masks = [decode_rle(rle) for rle in pred]
        if wrong := next((mask.shape for mask in masks if mask.shape != gt.shape), None):
            raise ValueError(f"an answer of {wrong} for a truth of {gt.shape}")
        scores: Scores = {}
        ious = []
        for k, mask in enumerate(masks, start=1):
            found, true = (mask, gt) if valid is None else (mask & valid, gt & valid)
            both = np.count_nonzero(found & true)
            area = np.count_nonzero(found) + np.count_nonzero(true)
            ious.append(both / (area - both))
            scores |= {
                f"IoU@{k}": ious[-1],
                f"Dice@{k}": 2 * both / area,
                f"BIoU@{k}": boundary_iou(mask, gt, valid=valid),
            }
        return ImageResult(clicks_to(ious) | scores)

    def _score(self, pred: Any, gt: Mask, valid: Mask | None) -> ImageResult:
        return self.score(pred, gt, valid)

    def summarise(self, results: Sequence[ImageResult]) -> Scores:
        means = super().summarise(results)
        last = max((int(name.partition("@")[2]) for name in means if name.startswith("IoU@")), default=0)
        return {
            name: value
            for name, value in means.items()
            if int(name.partition("@")[2]) in (*_REPORTED, *_THRESHOLDS, last)
        }


def clicks_to(ious: Sequence[float]) -> Scores:
    """``NoC@t`` and ``NoF@t`` of one object, from its IoU after each click; nothing where there was one click only."""
    scores: Scores = {}
    if len(ious) > 1:
        for t in _THRESHOLDS:
            reached = [k for k, iou in enumerate(ious, start=1) if iou >= t / 100]
            scores |= {f"NoC@{t}": float(reached[0] if reached else len(ious)), f"NoF@{t}": float(not reached)}
    return scores
