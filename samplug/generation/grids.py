"""Points and crops that cover an image (segment-anything's automatic mask generator)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Crop(NamedTuple):
    """Part of an image that is encoded on its own.

    Attributes:
        box: (x0, y0, x1, y1) in pixels of the image, ends exclusive.
        layer: 0 for the whole image; layer i cuts it into 2^i parts a side.
    """

    box: tuple[int, int, int, int]
    layer: int


def point_grid(side: int) -> Tensor:
    """Return the centres of ``side`` x ``side`` equal cells of a unit square, (side^2, 2) float64 (x, y), x fastest."""
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def image_crops(size: tuple[int, int], layers: int, overlap: float) -> list[Crop]:
    """Cut an image into overlapping parts, the whole image first.

    Args:
        size: (height, width) of the image.
        layers: Number of layers beside the whole image; layer i has (2^i)^2 crops.
        overlap: Overlap of neighbours in layer 1 as a share of the image's shorter side; half of it in each next layer.
    """
    height, width = size
    crops = [Crop((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        parts = 2**layer
        common = int(overlap * min(size) * (2 / parts))
        across, down = (math.ceil((common * (parts - 1) + side) / parts) for side in (width, height))
        for x0 in (int((across - common) * part) for part in range(parts)):
            for y0 in (int((down - common) * part) for part in range(parts)):
                crops.append(Crop((x0, y0, min(x0 + across, width), min(y0 + down, height)), layer))
    return crops
