"""Pictures of images, truths and predictions side by side."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_RED, _GREEN, _WHITE = (60, 60, 230), (90, 200, 60), (255, 255, 255)
_GAP = 4
_CAPTION = 20


def draw_overlay(
    image: NDArray[np.uint8], pred: NDArray[np.bool_], gt: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Tint the prediction and outline the truth.

    Args:
        image: (H, W, 3) uint8 BGR.
        pred: (H, W) bool, tinted red.
        gt: (H, W) bool, outlined in green.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    canvas = image.copy()
    canvas[pred] = (0.5 * canvas[pred] + 0.5 * np.array(_RED)).astype(np.uint8)
    thickness = max(1, min(image.shape[:2]) // 200)
    for mask, colour in ((pred, _RED), (gt, _GREEN)):
        if mask is not None:
            contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(canvas, contours, -1, colour, thickness)
    return canvas


def compare_sheet(rows: Sequence[Mapping[str, NDArray[np.uint8]]], height: int = 160) -> NDArray[np.uint8]:
    """A sheet with a row for each image and a captioned column for each kind of picture.

    Args:
        rows: For each image, caption -> picture, (H, W) or (H, W, 3) uint8 BGR; the same captions in every row.
        height: Height of each row in pixels.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    lines = []
    for index, row in enumerate(rows):
        cells = []
        for caption, picture in row.items():
            colour: np.ndarray = picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
            # Squares line up whatever the shapes of the images.
            scale = height / max(colour.shape[:2])
            method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            small = cv2.resize(colour, None, fx=scale, fy=scale, interpolation=method)
            cell: np.ndarray = np.full((height, height, 3), 255, np.uint8)
            top, left = (height - small.shape[0]) // 2, (height - small.shape[1]) // 2
            cell[top : top + small.shape[0], left : left + small.shape[1]] = small
            if index == 0:
                header = np.full((_CAPTION, height, 3), 255, np.uint8)
                cv2.putText(header, caption, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
                cell = np.vstack([header, cell])
            cells.append(np.pad(cell, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255))
        lines.append(np.hstack(cells))
    return np.vstack(lines)
