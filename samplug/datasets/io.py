"""Reading image and mask files, with errors that name them."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.utils.errors import UserError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class DataError(UserError, RuntimeError):
    """A file or folder of a dataset cannot be used; the message says which, why, and what to do."""


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """An image as (H, W, 3) uint8 BGR; EXIF rotation is applied.

    Raises:
        DataError: Missing, empty or undecodable.
    """
    return _decode(path, cv2.IMREAD_COLOR)


def read_mask(path: str | Path) -> NDArray[np.uint8]:
    """A mask as (H, W) uint8 grey values; rotated by EXIF as images are.

    Raises:
        DataError: Missing, empty or undecodable.
    """
    return _decode(path, cv2.IMREAD_GRAYSCALE)


def _decode(path: str | Path, flags: int) -> NDArray[np.uint8]:
    path = Path(path)
    if not path.is_file():
        raise DataError(f"data: {path} does not exist")
    content = np.fromfile(path, np.uint8)
    if not content.size:
        raise DataError(f"data: {path} is empty (0 bytes): restore or remove it")
    decoded = cv2.imdecode(content, flags)
    if decoded is None:
        raise DataError(f"data: {path} ({content.size:,} bytes) is no image that OpenCV can read: convert or remove it")
    return decoded  # type: ignore[return-value]
