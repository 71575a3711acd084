"""Masks as prompts, and choice among several predicted masks."""

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_prompt(masks: Tensor, size: tuple[int, int], logit: float = 10.0) -> Tensor:
    """Convert ground truth to mask prompts: ``logit`` on the object, its negative elsewhere (SAM 2).

    Args:
        masks: (B, 1, H, W) bool.
        size: (h, w) of mask prompts, a quarter of the network's input size.
        logit: Absolute value of the prompt's logits; larger values mean higher confidence.

    Returns:
        (B, 1, h, w) float32 in ``-logit`` to ``logit``, with intermediate values at borders.
    """
    logits = (2 * masks.float() - 1) * logit
    return F.interpolate(logits, size, mode="bilinear", align_corners=False, antialias=True)


def best_mask(logits: Tensor, iou: Tensor) -> Tensor:
    """Return the mask with the best predicted IoU among the M masks of each object.

    Args:
        logits: (B, M, h, w).
        iou: Predicted IoU (B, M).

    Returns:
        (B, 1, h, w).
    """
    return logits[torch.arange(len(logits), device=logits.device), iou.argmax(dim=1)][:, None]


def merge_prompts(logits: Tensor, iou: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Merge the masks of Q prompts for the same object; the M masks of an ambiguous prompt stay apart.

    Args:
        logits: (B, Q, M, h, w).
        iou: Predicted IoU (B, Q, M).
        how: ``'mean'``: the mean of logits and IoU over the prompts; ``'best'``: for each of the M masks the prompt
            with the best predicted IoU.

    Returns:
        Logits (B, M, h, w), IoU (B, M).
    """
    if how == "mean":
        return logits.mean(dim=1), iou.mean(dim=1)
    value, place = iou.max(dim=1, keepdim=True)
    return logits.take_along_dim(place[..., None, None], dim=1)[:, 0], value[:, 0]
