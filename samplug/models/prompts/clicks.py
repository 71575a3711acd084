"""Clicks on masks and on the errors of predictions.

Masks are (B, 1, H, W) bool. Points are (B, n, 2) float32, (x, y) in pixels of the masks, whole numbers from 0 to W - 1
and H - 1; labels are (B, n) int32: 1 = on the object, 0 = not on it, -1 = no point.
"""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samplug.models.prompts.randomness import Random, uniform


def uniform_click(
    ground_truth: Tensor, prediction: Tensor | None, random: Random, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one click for each mask uniformly from the pixels that the prediction has wrong (SAM 2's training).

    The label is the ground truth at the click: 1 where the prediction misses the object, 0 where it goes too far. A
    prediction without an error gets a click on the background. Without background, because the object fills the mask,
    the click is at (0, 0) with label 1 (SAM 2 labels it 0, which is wrong), or with label -1, no click, if the ground
    truth of (0, 0) is not known.

    Args:
        ground_truth: (B, 1, H, W) bool.
        prediction: (B, 1, H, W) bool; None: nothing is predicted, so that the click is on the object (on the background
            if it is empty).
        random: Generator, or numbers (B,) in [0, 1): of n candidate pixels, row by row, the one with index floor(n *
            number) is clicked.
        valid: (B, 1, H, W) bool, True where the ground truth is known; only there are clicks. None: everywhere.

    Returns:
        Points (B, 1, 2), labels (B, 1).

    Raises:
        ValueError: The arguments are not masks, or have different shapes.
    """
    missed, excess = _errors(ground_truth, prediction, valid)
    wrong = missed | excess
    perfect = ~wrong.flatten(1).any(dim=1)
    background = ~ground_truth if valid is None else ~ground_truth & valid
    candidates = wrong | (background & perfect[:, None, None, None])
    numbers = uniform(random, ground_truth.shape[:1], ground_truth.device, torch.float64)
    return _click_at(choose_pixel(candidates[:, 0], numbers), ground_truth, valid)


def center_click(
    ground_truth: Tensor, prediction: Tensor | None = None, padding: bool = True, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Click each mask in the middle of the largest error, farthest from the error's border (SAM 2's evaluation).

    Missed and excess pixels are two regions; the one with the deeper middle is clicked, the excess if both are equal.
    The label is the ground truth there. Without an error the click is at (0, 0), with label 0 unless the object is
    there, or -1 if that is not known.

    Args:
        ground_truth: (B, 1, H, W) bool.
        prediction: (B, 1, H, W) bool; None: nothing is predicted, so that the click is in the middle of the object.
        padding: Count the edge of the mask as a border. Without it an error that fills the mask has no border: the
            click is at (0, 0).
        valid: (B, 1, H, W) bool, True where the ground truth is known; only there are clicks. None: everywhere.

    Returns:
        Points (B, 1, 2), labels (B, 1), on the device of ``ground_truth``; distances (L2) are computed on the CPU.

    Raises:
        ValueError: The arguments are not masks, or have different shapes.
    """
    missed, excess = (error[:, 0].cpu().numpy() for error in _errors(ground_truth, prediction, valid))
    places = []
    for index in range(len(ground_truth)):
        depth_missed, depth_excess = _depth(missed[index], padding), _depth(excess[index], padding)
        deeper = depth_missed if depth_missed.max() > depth_excess.max() else depth_excess
        places.append(int(deeper.argmax()))
    return _click_at(torch.tensor(places, dtype=torch.long, device=ground_truth.device), ground_truth, valid)


def spread_points(regions: Tensor, count: int, random: Random, spread: bool = True) -> tuple[Tensor, Tensor]:
    """Draw points uniformly from regions, each at a distance from those before it that adapts to the region's size.

    The least distance in a region of A pixels is ``sqrt(A / (pi * count))``: together, discs of that radius around
    all points have the region's area, so that there is nearly always room for the next point. Without room it is drawn
    from the pixels not taken yet; a region with fewer pixels than points repeats its last one.

    Args:
        regions: (B, 1, H, W) bool.
        count: Number n of points for each region.
        random: Generator, or numbers (B, n) in [0, 1), one for each point as for :func:`uniform_click`.
        spread: False: no least distance, any n pixels.

    Returns:
        Points (B, n, 2), and (B, n) bool: True if the point exists, False, with the point (0, 0), for an empty region.

    Raises:
        ValueError: Another type or shape.
    """
    _check(regions)
    batch, _, height, width = regions.shape
    regions = regions.flatten(1)
    numbers = uniform(random, (batch, count), regions.device, torch.float64)
    pixels = torch.arange(height * width, device=regions.device)
    x, y = pixels % width, pixels // width
    apart = regions.sum(dim=1, keepdim=True) / (math.pi * max(count, 1)) * spread
    left = far = regions  # pixels without a point, and those of them that are not close to one
    places: list[Tensor] = []
    for number in numbers.unbind(dim=1):
        candidates = torch.where(far.any(dim=1, keepdim=True), far, left)
        place = choose_pixel(candidates.view(batch, height, width), number)[:, None]
        if places:
            place = torch.where(left.any(dim=1, keepdim=True), place, places[-1])
        places.append(place)
        left = left & (pixels != place)
        far = far & left & ((x - place % width) ** 2 + (y - place // width) ** 2 >= apart)
    index = torch.cat(places, dim=1) if places else pixels.new_zeros(batch, 0)
    return _points(index, width), regions.any(dim=1, keepdim=True).expand(-1, count)


def erode(masks: Tensor, radius: int) -> Tensor:
    """Remove the pixels of masks that have background within ``radius`` rows and columns.

    A mask that would vanish stays as it is. The edge of the image is no border: an object that extends beyond it is not
    eroded there.

    Args:
        masks: (B, 1, H, W) bool.
        radius: Distance in pixels; 0 changes nothing.

    Raises:
        ValueError: Another type or shape.
    """
    _check(masks)
    grown = (~masks).float()
    # Two passes for the square: the cost grows with the radius, not with its square.
    for kernel, pad in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
        grown = F.max_pool2d(grown, kernel, stride=1, padding=pad)
    eroded = grown == 0
    return torch.where(eroded.flatten(1).any(dim=1)[:, None, None, None], eroded, masks)


def choose_pixel(candidates: Tensor, numbers: Tensor) -> Tensor:
    """Return the pixel with index floor(n * number) among n candidates, counted row by row; pixel 0 without candidates.

    Args:
        candidates: (B, H, W) bool, fewer than 2^31 pixels.
        numbers: (B,) float64 in [0, 1); the products with n are below n in float64, and counts are integers.

    Returns:
        (B,) int, row * W + column.
    """
    in_row = candidates.sum(dim=2, dtype=torch.int32)
    up_to_row = in_row.cumsum(dim=1, dtype=torch.int32)
    total = up_to_row[:, -1]
    rank = (numbers * total).to(torch.int32)[:, None] + 1
    # Without candidates the search ends after the last row.
    row = torch.searchsorted(up_to_row, rank).clamp(max=candidates.shape[1] - 1)
    rank = rank - (up_to_row - in_row).gather(1, row)
    chosen = candidates[torch.arange(len(candidates), device=candidates.device), row[:, 0]]
    column = torch.searchsorted(chosen.cumsum(dim=1, dtype=torch.int32), rank)
    return (row * candidates.shape[2] + column)[:, 0].where(total > 0, 0)


def _errors(ground_truth: Tensor, prediction: Tensor | None, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return missed and excess pixels where the ground truth is known."""
    _check(ground_truth)
    if prediction is None:
        prediction = torch.zeros_like(ground_truth)
    _check(prediction)
    if prediction.shape != ground_truth.shape:
        raise ValueError(
            f"prompts: prediction {tuple(prediction.shape)} and ground truth {tuple(ground_truth.shape)} differ in "
            "shape: resize the prediction first"
        )
    missed, excess = ground_truth & ~prediction, prediction & ~ground_truth
    return (missed, excess) if valid is None else (missed & valid, excess & valid)


def _check(masks: Tensor) -> None:
    if masks.dtype != torch.bool or masks.ndim != 4 or masks.shape[1] != 1:
        raise ValueError(
            f"prompts: masks are bool (B, 1, H, W), these are {masks.dtype} {tuple(masks.shape)}: threshold and "
            f"reshape them first"
        )


def _depth(region: NDArray[np.bool_], padding: bool) -> NDArray[np.float32]:
    """Return each pixel's distance to the nearest one outside the region (H, W); zeros if nothing is outside."""
    padded = np.pad(region.astype(np.uint8), int(padding))
    if padded.all():
        return np.zeros(region.shape, np.float32)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return depth[1:-1, 1:-1] if padding else depth  # type: ignore[return-value]


def _click_at(index: Tensor, ground_truth: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    index = index[:, None]
    labels = ground_truth.flatten(1).gather(1, index).int()
    if valid is not None:
        labels = labels.where(valid.flatten(1).gather(1, index), -1)
    return _points(index, ground_truth.shape[-1]), labels


def _points(index: Tensor, width: int) -> Tensor:
    return torch.stack([index % width, index // width], dim=-1).float()
