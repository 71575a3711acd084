"""Losses of multi-class segmentation."""

import torch.nn.functional as F
from torch import Tensor, nn

from samplug.registry import MODELS

IGNORE_INDEX = 255


@MODELS.register_module(name="cross_entropy")
class CrossEntropyLoss(nn.Module):
    """Softmax cross-entropy, mean over the pixels that are not ignored (0 if all are)."""

    def forward(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the terms by name.

        Args:
            logits: (N, classes, H, W).
            target: (N, 1, H, W) int, class index, or 255 to ignore the pixel.
        """
        target = target.squeeze(1).long()
        total = F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="sum")
        return {"loss_ce": total / (target != IGNORE_INDEX).sum().clamp(min=1)}
