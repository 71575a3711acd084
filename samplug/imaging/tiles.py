"""Cut an image that is larger than a model's input into overlapping tiles, and merge their logits."""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """A part of an image.

    Attributes:
        rows: Rows of the image.
        columns: Columns of the image.
        row_weights: (h,) float32, share of this tile in the result along its rows.
        column_weights: (w,) float32, the same along its columns. The products of both add up to 1 over the tiles at
            each pixel.
    """

    rows: slice
    columns: slice
    row_weights: NDArray[np.float32]
    column_weights: NDArray[np.float32]


def cut(shape: tuple[int, int], tile: tuple[int, int], overlap: float) -> list[Tile]:
    """Return evenly spaced tiles that cover an image; a single one if the image is not larger than a tile.

    The shares of overlapping tiles fall off as a raised cosine, so that no seam is visible.

    Args:
        shape: (H, W) of the image.
        tile: Largest (height, width) of a tile; along a side on which the image is shorter, tiles have its length.
        overlap: Least share of a tile that it has in common with its neighbour, in [0, 1).
    """
    rows, columns = (_along(*axis, overlap) for axis in zip(shape, tile, strict=True))
    return [
        Tile(row, column, row_weights, column_weights)
        for (row, row_weights), (column, column_weights) in product(rows, columns)
    ]


class Canvas:
    """Sum the weighted logits of the tiles of an image; only the sum is kept.

    Args:
        shape: (H, W) of the image.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.logits: Tensor | None = None

    def add(self, tile: Tile, logits: Tensor) -> None:
        """Add a tile's logits, (classes, h, w) float, on the CPU."""
        if self.logits is None:
            self.logits = torch.zeros(len(logits), *self.shape)
        weights = torch.from_numpy(np.outer(tile.row_weights, tile.column_weights))
        self.logits[:, tile.rows, tile.columns] += logits * weights


def _along(length: int, tile: int, overlap: float) -> list[tuple[slice, NDArray[np.float32]]]:
    """Return the parts of one axis and their shares."""
    tile = min(tile, length)
    common = min(math.ceil(tile * overlap), tile - 1)
    number = math.ceil((length - tile) / (tile - common)) + 1
    starts = np.linspace(0, length - tile, number).round().astype(int).tolist()
    common = tile - max(np.diff(starts), default=tile)  # even spacing overlaps more than was asked for
    distance = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 0.5
    window = np.sin(np.pi / 2 * np.minimum(1, distance / max(common, 1))) ** 2
    total = np.zeros(length)
    for start in starts:
        total[start : start + tile] += window
    return [(slice(start, start + tile), (window / total[start : start + tile]).astype(np.float32)) for start in starts]
