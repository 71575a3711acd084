"""Encode masks as COCO's compressed run lengths, for pycocotools and mmdet.

A mask is a dict of ``size`` [H, W] and ``counts``, a text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

RLE = dict[str, Any]


def encode_rle(mask: NDArray[np.bool_]) -> RLE:
    """Compress a mask, (H, W) bool."""
    return as_text(coco_mask.encode(np.asfortranarray(mask, np.uint8)))


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Decompress a mask of :func:`encode_rle`, (H, W) bool; runs that end before the image does are not detected."""
    mask: NDArray[np.uint8] = coco_mask.decode(dict(rle))
    return np.ascontiguousarray(mask).view(np.bool_)


def rle_area(rle: Mapping[str, Any]) -> int:
    """Return the number of pixels of a mask."""
    return int(coco_mask.area(dict(rle)))


def rle_box(rle: Mapping[str, Any]) -> list[int]:
    """Return the box of a mask, [x, y, width, height] as in COCO; zeros for an empty one."""
    return [int(value) for value in coco_mask.toBbox(dict(rle))]


def union(masks: Sequence[Mapping[str, Any]]) -> RLE:
    """Return the pixels of any of several masks of one size; there must be at least one."""
    return as_text(coco_mask.merge([dict(mask) for mask in masks]))


def from_runs(counts: list[int], size: tuple[int, int]) -> RLE:
    """Compress run lengths: outside, inside, outside, ... down the columns of an image of ``size`` (height, width)."""
    return as_text(coco_mask.frPyObjects({"counts": counts, "size": list(size)}, *size))


def as_text(rle: Any) -> RLE:
    """Convert run lengths of pycocotools to ``counts`` as a text; mmdet takes bytes for a broken mask."""
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def from_labels(labels: NDArray[Any]) -> dict[int, RLE]:
    """Compress the masks of all values of a label map except 0; value -> mask, in ascending order.

    The image is passed over once, however many values there are.

    Args:
        labels: (H, W), integers or bool.
    """
    height, width = labels.shape
    pixels = labels.ravel(order="F")
    starts = np.flatnonzero(np.concatenate([[True], pixels[1:] != pixels[:-1]]))
    ends = np.append(starts[1:], pixels.size)
    values = pixels[starts]
    order = np.argsort(values, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(values[order])) + 1)
    masks = {}
    for runs in groups:
        value = int(values[runs[0]])
        if value != 0:
            # Runs outside and inside alternate: differences of all starts and ends, from 0 to the last pixel.
            edges = np.column_stack([starts[runs], ends[runs]]).ravel()
            counts = np.diff(edges, prepend=0, append=pixels.size).tolist()
            masks[value] = from_runs(counts if counts[-1] else counts[:-1], (height, width))
    return masks
