"""Boxes around masks: (B, 4) float32, (x0, y0, x1, y1), first and last column and row of the object."""

import torch
from torch import Tensor

from samplug.models.prompts.randomness import Random, uniform


def tight_boxes(masks: Tensor) -> Tensor:
    """Return the tight box of each mask (SAM 2).

    Args:
        masks: (B, 1, H, W) bool.

    Returns:
        (B, 4): equal corners for a mask of one pixel, inverted, (W, H, -1, -1), for an empty one.
    """
    lows, highs = [], []
    for across in (-2, -1):  # columns, then rows
        filled = masks[:, 0].any(dim=across)
        place = torch.arange(filled.shape[-1], device=masks.device)
        lows.append(torch.where(filled, place, filled.shape[-1]).amin(dim=-1))
        highs.append(torch.where(filled, place, -1).amax(dim=-1))
    return torch.stack(lows + highs, dim=-1).float()


def perturb_boxes(
    boxes: Tensor, size: tuple[int, int], random: Random, fraction: float | None = 0.1, limit: float = 20.0
) -> Tensor:
    """Move each side of boxes by a number drawn uniformly from [-m, m), and keep the boxes inside the mask.

    Args:
        boxes: (B, 4), see :func:`tight_boxes`.
        size: (H, W) of the mask.
        random: Generator, or numbers (B, 4) in [0, 1).
        fraction: m is this share of the box's width for x, of its height for y, at most ``limit`` (SAM 2: 0.1 and 20);
            None: m is ``limit`` whatever the box's size (rivers: 10).
        limit: Largest m in pixels.

    Returns:
        (B, 4), from 0 to W - 1 and H - 1. Sides that have crossed are exchanged; the inverted box of an empty mask
        stays inverted.
    """
    height, width = size
    boxes = boxes.float()  # half of a limit may not be an integer
    extent = boxes[:, 2:] - boxes[:, :2]
    most = torch.full_like(extent, limit) if fraction is None else (extent * fraction).clamp(max=limit)
    moved = boxes + (2 * uniform(random, boxes.shape, boxes.device) - 1) * most.repeat(1, 2)
    moved = torch.minimum(moved.clamp(min=0), moved.new_tensor([width, height, width, height]) - 1)
    first, last = moved[:, :2], moved[:, 2:]
    ordered = torch.cat([torch.minimum(first, last), torch.maximum(first, last)], dim=1)
    return torch.where((extent < 0).repeat(1, 2), moved, ordered)
