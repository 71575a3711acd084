"""Compare automatic masks of an image with the regions of a label map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from samplug.utils.rle import decode_rle, union

Counts = NDArray[np.int64]
Rle = Mapping[str, Any]
"""A mask as COCO RLE, ``size`` [H, W] and ``counts``."""


@dataclass(frozen=True)
class Overlaps:
    """Pixel counts of K masks and V regions, from which all scores are computed.

    Attributes:
        labels: (H, W), index of each pixel's region, 0..V-1.
        values: (V,), labels of the regions, ascending.
        sizes: (V,), pixels of each region.
        areas: (K,), pixels of each mask.
        common: (K, V), pixels of each mask in each region.
    """

    labels: NDArray[np.intp]
    values: NDArray[Any]
    sizes: Counts
    areas: Counts
    common: Counts

    @classmethod
    def of(cls, masks: Sequence[Rle], labels: NDArray[Any]) -> "Overlaps":
        """Count the pixels of masks and regions.

        Args:
            masks: K masks, COCO RLE of the map's size.
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
        return self.common / (self.areas[:, None] + self.sizes - self.common)

    def inverted(self) -> "Overlaps":
        """Return the counts for the labels 255 - labels."""
        last = len(self.values) - 1
        return Overlaps(last - self.labels, 255 - self.values[::-1], self.sizes[::-1], self.areas, self.common[:, ::-1])


def paint(masks: Sequence[Rle], order: Sequence[int], colours: Sequence[int], size: tuple[int, ...]) -> Counts:
    """Paint masks over each other; return the colours (H, W), 0 where no mask is.

    Args:
        masks: COCO RLE of the map's size.
        order: Indices of the masks in painting order.
        colours: Colour of each mask.
        size: (H, W).
    """
    painted = np.zeros(size, np.int64)
    for index in order:
        painted[decode_rle(masks[index])] = colours[index]
    return painted


def largest_first(areas: Counts) -> list[int]:
    """Return the indices of masks by descending area; masks of equal area keep their order."""
    return [int(index) for index in np.argsort(-areas, kind="stable")]


def partition(masks: Sequence[Rle], overlaps: Overlaps) -> Counts:
    """Merge masks into a label map (H, W): smaller masks cover larger masks, 0 = no mask."""
    order = largest_first(overlaps.areas)
    return paint(masks, order, [index + 1 for index in range(len(masks))], overlaps.labels.shape)


def contingency(first: NDArray[Any], second: NDArray[Any]) -> Counts:
    """Return the contingency table of two label maps of equal size; rows and columns are the ascending labels in use.

    Labels are counted from 0, with few gaps: the memory of a table up to the largest labels is needed.
    """
    rows, columns = int(first.max()) + 1, int(second.max()) + 1
    joint = first.ravel() * columns + second.ravel()
    table = np.bincount(joint, minlength=rows * columns).reshape(rows, columns)
    return table[table.any(axis=1)][:, table.any(axis=0)]


def adjusted_rand_index(table: Counts) -> float:
    """Return the adjusted Rand index (Hubert and Arabie, 1985) of two partitions from their contingency table."""
    # Exact numbers of ordered pixel pairs: together in both, only in the first, only in the second, in neither.
    total = int(table.sum())
    squares = sum(int(value) ** 2 for value in table.ravel())
    by_rows, by_columns = (sum(int(value) ** 2 for value in table.sum(axis=axis)) for axis in (1, 0))
    both = squares - total
    return _adjusted(both, by_rows - squares, by_columns - squares, total**2 - by_rows - by_columns + squares)


def binary_rand_index(common: int, area: int, size: int, pixels: int) -> float:
    """Return the adjusted Rand index of two masks, each seen as a partition into two regions.

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
    """Match rows and columns one to one so that the sum of IoUs is largest.

    Args:
        table: Contingency table of two partitions.

    Returns:
        IoU of each column's region with its match, 0 without a match.
    """
    ious = table / (table.sum(axis=1, keepdims=True) + table.sum(axis=0) - table)
    rows, columns = linear_sum_assignment(ious, maximize=True)
    result = np.zeros(table.shape[1])
    result[columns] = ious[rows, columns]
    return result


def merged_ious(masks: Sequence[Rle], overlaps: Overlaps) -> NDArray[np.float64]:
    """Assign each mask to the region with which it shares most pixels, and merge the masks of each region.

    Args:
        masks: COCO RLE of the map's size.
        overlaps: Pixel counts of the masks.

    Returns:
        (V,), IoU of each region with the union of its masks, 0 without masks.
    """
    owners = overlaps.common.argmax(axis=1) if len(masks) else ()
    result = np.zeros(len(overlaps.values))
    for region in set(owners):
        merged = decode_rle(union([mask for mask, owner in zip(masks, owners, strict=True) if owner == region]))
        common = np.count_nonzero(merged & (overlaps.labels == region))
        result[region] = common / (np.count_nonzero(merged) + int(overlaps.sizes[region]) - common)
    return result
