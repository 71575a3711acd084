"""Scores of TextureSAM's four evaluation scripts, including their quirks (commit 7e387d5 of its repository)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from samplug.evaluation.functional.regions import Counts, Overlaps, Rle, binary_rand_index, largest_first, paint

RowEmpty = Literal["zero", "drop"]

# https://github.com/Scientific-Computing-Lab/TextureSAM: mIoU, ARI and aggregated mIoU of its scripts. SAM-2* has
# TextureSAM's settings of the mask generator; eta is the largest weight of textures in the training images.
PUBLISHED = {
    "rwtd": {
        "SAM-2": (0.26, 0.36, 0.44),
        "SAM-2*": (0.14, 0.19, 0.75),
        "eta<=0.3": (0.47, 0.62, 0.75),
        "eta<=1": (0.42, 0.54, 0.76),
    },
    "stmd": {
        "SAM-2": (0.07, 0.16, 0.16),
        "SAM-2*": (0.17, 0.16, 0.78),
        "eta<=0.3": (0.33, 0.32, 0.71),
        "eta<=1": (0.35, 0.34, 0.70),
    },
    "ade20k": {
        "SAM-2": (0.08, 0.08, 0.46),
        "SAM-2*": (0.10, 0.11, 0.65),
        "eta<=0.3": (0.11, 0.11, 0.55),
        "eta<=1": (0.12, 0.11, 0.40),
    },
}


def row_iou(predicted: Counts, labels: Counts, row_empty: RowEmpty) -> float:
    """Return the result of torchmetrics' ``mean_iou`` for a (1, H, W) label map in its default input format.

    This format treats image rows as classes; the intersection is the bit-wise AND of the labels.

    Args:
        predicted: (H, W) labels, not negative.
        labels: (H, W) labels, not negative.
        row_empty: Score of rows that only contain label 0: ``'zero'`` counts them as 0 (torchmetrics 1.6.1),
            ``'drop'`` leaves them out (1.9.0).
    """
    common = (predicted & labels).sum(axis=1).astype(np.float32)
    union = (predicted.sum(axis=1) + labels.sum(axis=1)).astype(np.float32) - common
    filled = union > 0
    ious = np.divide(common, union, out=np.zeros_like(common), where=filled)
    if row_empty == "drop":
        ious = ious[filled]
    return float(ious.mean()) if len(ious) else 0.0


def aggregated(masks: Sequence[Rle], overlaps: Overlaps, row_empty: RowEmpty, both_ways: bool) -> float:
    """Return the row of ``eval_agg_masks.py`` (RWTD, STMD).

    Each mask gets the label with which it shares most pixels; ties go to the smaller label. Masks of label 0 are left
    out.

    Args:
        masks: COCO RLE of the map's size.
        overlaps: Pixel counts of the masks, in labels 0..255.
        row_empty: See :func:`row_iou`.
        both_ways: Average the scores with the labels and with inverted labels, as the script does for RWTD.
    """
    scores = []
    for truth in (overlaps, overlaps.inverted()) if both_ways else (overlaps,):
        owners = [int(truth.values[row.argmax()]) if row.any() else 0 for row in truth.common]
        painted_areas = np.array([area if owner else 0 for area, owner in zip(truth.areas, owners, strict=True)])
        order = [index for index in largest_first(painted_areas) if owners[index]]
        labels = truth.values.astype(np.int64)[truth.labels]
        scores.append(row_iou(paint(masks, order, owners, labels.shape), labels, row_empty))
    return float(np.mean(scores))


def aggregated_instances(masks: Sequence[Rle], overlaps: Overlaps, row_empty: RowEmpty) -> float | None:
    """Return the row of ``eval_agg_masks_ADE20K.py``; None for a label map of one value, which the script skips.

    Masks are first merged into a label map, smaller masks over larger masks; each of its regions gets the instance with
    which it shares most pixels.

    Args:
        masks: COCO RLE of the map's size.
        overlaps: Pixel counts of the masks, in labels 0..255, 0 = no instance.
        row_empty: See :func:`row_iou`.
    """
    if len(overlaps.values) == 1:
        return None
    labels = overlaps.values.astype(np.int64)[overlaps.labels]
    order = largest_first(overlaps.areas)
    painted = paint(masks, order, [order.index(index) + 1 for index in range(len(masks))], labels.shape)
    result = np.zeros(labels.shape, np.int64)
    for region in np.unique(painted):
        counts = np.bincount(labels[painted == region])
        counts[0] = 0
        if region and counts.any():
            result[painted == region] = counts.argmax()
    return row_iou(result, labels, row_empty)


def touching_pairs(overlaps: Overlaps) -> list[tuple[list[float], list[float]]]:
    """Return IoUs and adjusted Rand indices of the masks that touch each region, including label 0.

    They are the rows of ``eval_no_agg_masks.py`` and, joined, the rows of ``eval_no_agg_masks_ADE20K.py``.
    """
    ious = overlaps.ious()
    rows = []
    for region, size in enumerate(overlaps.sizes):
        touching = np.flatnonzero(overlaps.common[:, region])
        rand = [
            binary_rand_index(
                int(overlaps.common[mask, region]), int(overlaps.areas[mask]), int(size), overlaps.labels.size
            )
            for mask in touching
        ]
        rows.append((ious[touching, region].tolist(), rand))
    return rows
