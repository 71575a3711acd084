"""Masks as COCO's compressed run lengths."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask, (H, W) bool: ``size`` [H, W] and ``counts``, a text."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The mask, (H, W) bool, of what :func:`encode_rle` returned; runs that end before the image does are not noticed."""
    mask: NDArray[np.uint8] = coco_mask.decode(dict(rle))
    return np.ascontiguousarray(mask).view(np.bool_)
