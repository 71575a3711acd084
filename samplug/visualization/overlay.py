"""Pictures of images, truths and predictions side by side."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_RED, _GREEN, _GREY = (60, 60, 230), (90, 200, 60), (128, 128, 128)
_IGNORED = 255
_GAP = 4
_CAPTION = 20  # height of a line
_CHARACTER = 7.5  # width, about


def draw_overlay(
    image: NDArray[np.uint8],
    pred: NDArray[np.bool_],
    gt: NDArray[np.bool_] | None = None,
    ignored: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Tint the prediction, outline the truth, hatch what is ignored.

    Args:
        image: (H, W, 3) uint8 BGR.
        pred: (H, W) bool, tinted red.
        gt: (H, W) bool, outlined in green.
        ignored: (H, W) bool, hatched in grey.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    canvas = image.copy()
    canvas[pred] = (0.5 * canvas[pred] + 0.5 * np.array(_RED)).astype(np.uint8)
    thickness = max(1, min(image.shape[:2]) // 200)
    if ignored is not None:
        rows, columns = np.indices(ignored.shape)
        canvas[ignored & ((rows + columns) // (4 * thickness) % 2 == 0)] = _GREY
    for mask, colour in ((pred, _RED), (gt, _GREEN)):
        if mask is not None:
            contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(canvas, contours, -1, colour, thickness)
    return canvas


def draw_classes(image: NDArray[np.uint8], labels: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Tint every class in a colour of its own, the same in every picture, and outline it.

    Args:
        image: (H, W, 3) uint8 BGR.
        labels: (H, W) class indexes; 255 (ignored) stays as it is.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    index = np.arange(_IGNORED)
    # Hues a golden angle apart: neighbours in number are far apart in colour.
    hues = np.stack([index * 0.618034 % 1 * 180, 150 + index % 3 * 50, 230 - index % 2 * 60], axis=-1).astype(np.uint8)
    colours = cv2.cvtColor(hues[None], cv2.COLOR_HSV2BGR)[0]
    known = labels != _IGNORED
    canvas = image.copy()
    canvas[known] = (0.5 * canvas[known] + 0.5 * colours[labels[known] % _IGNORED]).astype(np.uint8)
    edges = np.zeros(labels.shape, bool)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    canvas[edges] = 255
    return canvas


def number_objects(masks: Sequence[NDArray[np.bool_]], shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Objects as one map of their numbers from 1, (H, W) uint16: small ones over large ones, 0 where there is none.

    Args:
        masks: (H, W) bool each.
        shape: (H, W).
    """
    numbers = np.zeros(shape, np.uint16)
    for index in sorted(range(len(masks)), key=lambda index: -int(masks[index].sum())):
        numbers[masks[index]] = index + 1
    return numbers


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
            cell = _fit(colour, height, height)
            cells.append(_spaced(add_caption(cell, [caption]) if index == 0 else cell))
        lines.append(np.hstack(cells))
    return np.vstack(lines)


def contact_sheet(
    pictures: Sequence[tuple[NDArray[np.uint8], Sequence[str]]], height: int = 240, width: int = 1400
) -> NDArray[np.uint8]:
    """A grid of captioned pictures.

    Args:
        pictures: At least one (picture, lines of its caption), pictures (H, W, 3) uint8 BGR; the same number of lines for each.
        height: Height of a picture in pixels; the widest (up to 3:1) decides on the width of all cells.
        width: Of the sheet: as many cells in a row as fit, at least one.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    aspect = max(picture.shape[1] / picture.shape[0] for picture, _ in pictures)
    cell_width = round(height * min(max(aspect, 1), 3))
    cells = [_spaced(add_caption(_fit(picture, height, cell_width), caption)) for picture, caption in pictures]
    columns = min(max(1, width // cells[0].shape[1]), len(cells))
    cells += [np.full_like(cells[0], 255)] * (math.ceil(len(cells) / columns) * columns - len(cells))
    return np.vstack([np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)])


def add_caption(picture: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """Lines of black text above a picture, (H, W, 3) uint8 BGR; the ends of lines that are too long are kept."""
    header = np.full((_CAPTION * len(lines), picture.shape[1], 3), 255, np.uint8)
    room = int(picture.shape[1] / _CHARACTER)
    for number, line in enumerate(lines):
        text = line if len(line) <= room else f"..{line[len(line) - room + 2 :]}"
        place = (2, 14 + number * _CAPTION)
        cv2.putText(header, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([header, picture])


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture, (H, W) or (H, W, 3) uint8 BGR, as what the suffix says; its folder is made.

    Raises:
        OSError: The file cannot be written (``cv2.imwrite`` would be silent).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_picture(picture, path.suffix))


def encode_picture(picture: NDArray[Any], suffix: str) -> bytes:
    """The bytes of a picture file, (H, W) or (H, W, 3) BGR, of the format that a suffix such as ``'.png'`` means.

    Raises:
        OSError: The format cannot hold it.
    """
    try:
        done, content = cv2.imencode(suffix, picture)
    except cv2.error as error:
        raise OSError(f"a picture of {picture.shape[1]}x{picture.shape[0]} cannot be encoded as {suffix}") from error
    if not done:
        raise OSError(f"a picture of {picture.shape[1]}x{picture.shape[0]} cannot be encoded as {suffix}")
    return content.tobytes()


def _fit(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture as large as it fits, in the middle of a white cell."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    cell: np.ndarray = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    cell[top : top + small.shape[0], left : left + small.shape[1]] = small
    return cell


def _spaced(cell: np.ndarray) -> np.ndarray:
    return np.pad(cell, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
