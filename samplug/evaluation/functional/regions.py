"""Compare masks of everything in an image with the regions of a label map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from samplug.utils.rle import decode_rle

Counts = NDArray[np.int64]
Rle = Mapping[str, Any]
"""A mask as COCO RLE, ``size`` [H, W] and ``counts``."""


@dataclass(frozen=True)
class Overlaps:
    """Pixel counts of K masks and V regions, from which all scores follow.

    Attributes:
        labels: (H, W) index of each pixel's region, 0..V-1.
        values: Labels of the regions, ascending, (V,).
        sizes: Pixels of each region, (V,).
        areas: Pixels of each mask, (K,).
        common: Pixels of each mask in each region, (K, V).
    """

    labels: NDArray[np.intp]
    values: NDArray[Any]
    sizes: Counts
    areas: Counts
    common: Counts

    @classmethod
    def of(cls, masks: Sequence[Rle], labels: NDArray[Any]) -> "Overlaps":
        """Count the pixels.

        Args:
            masks: K masks of the map's size.
            labels: (H, W) integers; each value is a region.

        Raises:
            ValueError: A mask has another size.
        """
        for mask in masks:
            if tuple(mask["size"]) != labels.shape:
                height, width = mask["size"]
                raise ValueError(
                    f"a mask is {width}x{height} (width x height), the ground truth {labels.shape[1]}x{labels.shape[0]}"
                )
        values, index = np.unique(labels, return_inverse=True)
        index = index.reshape(labels.shape)
        common = np.zeros((len(masks), len(values)), np.int64)
        for row, mask in zip(common, masks, strict=True):
            row[:] = np.bincount(index[decode_rle(mask)], minlength=len(values))
        sizes = np.bincount(index.ravel(), minlength=len(values))
        return cls(index, values, sizes, common.sum(axis=1), common)

    def ious(self) -> NDArray[np.float64]:
        """Return the IoU of each mask with each region, (K, V)."""
        union = self.areas[:, None] + self.sizes - self.common
        return self.common / union


def paint(masks: Sequence[Rle], order: Sequence[int], colours: Sequence[int], size: tuple[int, ...]) -> Counts:
    """Paint masks one over the other; return the colours (H, W), 0 where there is none.

    Args:
        masks: COCO RLE of the map's size.
        order: Indices of the masks, the one that is painted first first.
        colours: Colour of each mask.
        size: (H, W).
    """
    painted = np.zeros(size, np.int64)
    for index in order:
        painted[decode_rle(masks[index])] = colours[index]
    return painted


def largest_first(areas: Counts) -> list[int]:
    """Return the indices of masks in the order of their areas, the largest first; equal ones keep their order."""
    return [int(index) for index in np.argsort(-areas, kind="stable")]


def partition(masks: Sequence[Rle], overlaps: Overlaps) -> Counts:
    """Make one label map (H, W) of masks: smaller masks lie over larger ones, and 0 is what no mask covers."""
    order = largest_first(overlaps.areas)
    return paint(masks, order, [index + 1 for index in range(len(masks))], overlaps.labels.shape)


def contingency(first: NDArray[Any], second: NDArray[Any]) -> Counts:
    """Count the pixels of each pair of labels of two maps of equal size; rows and columns are ascending labels."""
    (rows, a), (columns, b) = (np.unique(labels, return_inverse=True) for labels in (first, second))
    joint = a.ravel() * len(columns) + b.ravel()
    return np.bincount(joint, minlength=len(rows) * len(columns)).reshape(len(rows), len(columns))


def adjusted_rand_index(table: Counts) -> float:
    """Return the adjusted Rand index (Hubert and Arabie, 1985) of two partitions from their contingency table."""
    # Numbers of ordered pairs of pixels, exact: together in both, in the first alone, in the second alone, in neither.
    total = int(table.sum())
    squares = sum(int(value) ** 2 for value in table.ravel())
    by_rows, by_columns = (sum(int(value) ** 2 for value in table.sum(axis=axis)) for axis in (1, 0))
    both = squares - total
    return _adjusted(both, by_rows - squares, by_columns - squares, total**2 - by_rows - by_columns + squares)


def binary_rand_index(common: int, area: int, size: int, pixels: int) -> float:
    """Return the adjusted Rand index of two masks, each a partition into two.

    Args:
        common: Pixels in both masks.
        area: Pixels of the first mask.
        size: Pixels of the second mask.
        pixels: Pixels of the image.
    """
    table = np.array([[pixels - area - size + common, size - common], [area - common, common]])
    return adjusted_rand_index(table)


def _adjusted(both: int, first: int, second: int, neither: int) -> float:
    if first == 0 and second == 0:
        return 1.0
    product = 2 * (both * neither - first * second)
    return product / ((both + second) * (second + neither) + (both + first) * (first + neither))


def assigned_ious(table: Counts) -> NDArray[np.float64]:
    """Give each column's region at most one row's region and the reverse, so that the sum of their IoUs is largest.

    Args:
        table: Contingency table of two partitions.

    Returns:
        IoU of each column's region with its partner, 0 without one.
    """
    ious = table / (table.sum(axis=1, keepdims=True) + table.sum(axis=0) - table)
    rows, columns = linear_sum_assignment(ious, maximize=True)
    result = np.zeros(table.shape[1])
    result[columns] = ious[rows, columns]
    return result


def merged_ious(masks: Sequence[Rle], overlaps: Overlaps) -> NDArray[np.float64]:
    """Merge the masks that fall to each region, the one that a mask shares most pixels with; return the IoUs.

    Args:
        masks: COCO RLE of the map's size.
        overlaps: Their pixel counts.

    Returns:
        IoU of each region with the union of its masks, (V,), 0 without one.
    """
    owners = overlaps.common.argmax(axis=1) if len(masks) else ()
    result = np.zeros(len(overlaps.values))
    for region in set(owners):
        union = np.zeros(overlaps.labels.shape, bool)
        for mask, owner in zip(masks, owners, strict=True):
            if owner == region:
                union |= decode_rle(mask)
        common = np.count_nonzero(union & (overlaps.labels == region))
        result[region] = common / (np.count_nonzero(union) + int(overlaps.sizes[region]) - common)
    return result
