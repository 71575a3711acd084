"""Generated masks of one image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.structures import InstanceData
from numpy.typing import NDArray
from torch import Tensor

from samplug.utils.rle import RLE, decode_rle


@dataclass(frozen=True, eq=False)
class GeneratedMasks:
    """Masks of everything in an image, the highest predicted IoU first; all tensors are on the CPU.

    Attributes:
        size: (height, width) of the image.
        masks: N masks, COCO RLE of the image's size.
        areas: Pixels of each mask, (N,) int64.
        boxes: (N, 4) int64 (x0, y0, x1, y1), ends inclusive; zeros for an empty mask.
        scores: Predicted IoU, (N,) float32.
        stability: IoU of the masks at two thresholds, (N,) float32.
        points: Click that each mask is the answer to, (N, 2) float32 (x, y).
        crops: Crop that each mask was found in, (N, 4) int64 (x0, y0, x1, y1), ends exclusive.
    """

    size: tuple[int, int]
    masks: Sequence[RLE]
    areas: Tensor
    boxes: Tensor
    scores: Tensor
    stability: Tensor
    points: Tensor
    crops: Tensor

    def __len__(self) -> int:
        return len(self.masks)

    def decoded(self) -> NDArray[np.bool_]:
        """Return the masks as (N, H, W) bool."""
        decoded = [decode_rle(mask) for mask in self.masks]
        return np.stack(decoded) if decoded else np.zeros((0, *self.size), np.bool_)

    def records(self) -> list[dict[str, Any]]:
        """Return the records of segment-anything's and SAM 2's generators, with RLE as ``segmentation``.

        ``bbox`` and ``crop_box`` are [x, y, width, height]; the width of a box is x1 - x0, as published.
        """
        return [
            {
                "segmentation": dict(mask),
                "area": int(self.areas[index]),
                "bbox": _sides(self.boxes[index]),
                "predicted_iou": float(self.scores[index]),
                "point_coords": [self.points[index].tolist()],
                "stability_score": float(self.stability[index]),
                "crop_box": _sides(self.crops[index]),
            }
            for index, mask in enumerate(self.masks)
        ]

    def instances(self) -> InstanceData:
        """Return ``pred_instances`` in mmdet's layout, with ``stability_scores`` and ``points`` added.

        They hold ``masks``, ``bboxes`` with exclusive ends, ``labels``, which are 0, and ``scores``.
        """
        ends = self.boxes.clone()
        ends[:, 2:] += (self.areas > 0).long()[:, None]
        return InstanceData(
            masks=list(self.masks),
            bboxes=ends.float(),
            labels=self.areas.new_zeros(len(self)),
            scores=self.scores,
            stability_scores=self.stability,
            points=self.points,
        )


def _sides(box: Tensor) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]
