"""Draw masks on images, and arrange images in sheets."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.utils.files import WriteError, write_bytes
from samplug.utils.text import printable

_RED, _GREEN, _GREY = (60, 60, 230), (90, 200, 60), (128, 128, 128)
_IGNORED = 255
_GAP = 4
_CAPTION = 20  # height of a line in pixels
_CHARACTER = 7.5  # approximate width of a character in pixels


def draw_overlay(
    image: NDArray[np.uint8],
    pred: NDArray[np.bool_],
    gt: NDArray[np.bool_] | None = None,
    ignored: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Tint the prediction, outline the ground truth and hatch ignored pixels.

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
    """Tint each class in its own colour, the same in every image, and outline it.

    Args:
        image: (H, W, 3) uint8 BGR.
        labels: (H, W) class indexes; ignored pixels (255) are not tinted.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    colours = _colours(_IGNORED)
    known = labels != _IGNORED
    canvas = image.copy()
    canvas[known] = (0.5 * canvas[known] + 0.5 * colours[labels[known] % _IGNORED]).astype(np.uint8)
    edges = np.zeros(labels.shape, bool)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    canvas[edges] = 255
    return canvas


def draw_masks(image: NDArray[np.uint8], masks: Iterable[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Tint and outline masks that may overlap, each in its own colour; the colour of index i is always the same.

    Args:
        image: (H, W, 3) uint8 BGR.
        masks: (H, W) bool each; later ones cover earlier ones. They are looked at one by one.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    canvas = image.copy()
    thickness = max(1, min(image.shape[:2]) // 300)
    colours = _colours(_IGNORED)
    for index, mask in enumerate(masks):
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        box = (slice(top, top + height), slice(left, left + width))
        own, colour, part = np.ascontiguousarray(mask[box]), colours[index % _IGNORED], canvas[box]
        # From the image, not from the canvas: a region within others is as clear as one on its own.
        part[own] = (0.5 * image[box][own] + 0.5 * colour).astype(np.uint8)
        contours, _ = cv2.findContours(own.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, colour.tolist(), thickness, offset=(left, top))
    return canvas


def _colours(number: int) -> NDArray[np.uint8]:
    """Return BGR colours (number, 3): hues differ by the golden angle, so that adjacent indexes are distinct."""
    index = np.arange(number)
    hues = np.stack([index * 0.618034 % 1 * 180, 150 + index % 3 * 50, 230 - index % 2 * 60], axis=-1).astype(np.uint8)
    return cv2.cvtColor(hues[None], cv2.COLOR_HSV2BGR)[0].astype(np.uint8)


def number_objects(masks: Sequence[NDArray[np.bool_]], shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Number objects from 1 in one map, (H, W) uint16; small objects cover large ones, 0 is background.

    Args:
        masks: Masks of the objects, (H, W) bool each.
        shape: (H, W) of the map.
    """
    numbers = np.zeros(shape, np.uint16)
    for index in sorted(range(len(masks)), key=lambda index: -int(masks[index].sum())):
        numbers[masks[index]] = index + 1
    return numbers


def region_masks(labels: NDArray[Any], no_region: int | None = None) -> list[NDArray[np.bool_]]:
    """Return the masks, (H, W) bool, of the values of a map of regions in ascending order.

    Args:
        labels: (H, W), integers.
        no_region: Value of pixels that belong to no region, which gets no mask.
    """
    return [labels == value for value in np.unique(labels).tolist() if value != no_region]


def compare_sheet(rows: Sequence[Mapping[str, NDArray[np.uint8]]], height: int = 160) -> NDArray[np.uint8]:
    """Make a sheet with a row for each sample and a captioned column for each kind of image.

    Args:
        rows: For each sample, caption -> image, (H, W) or (H, W, 3) uint8 BGR; the same captions in every row.
        height: Height of each row in pixels.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    lines = []
    for index, row in enumerate(rows):
        cells = []
        for caption, picture in row.items():
            colour: np.ndarray = picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
            # Square cells align images of any shape.
            cell = _fit(colour, height, height)
            cells.append(_spaced(add_caption(cell, [caption]) if index == 0 else cell))
        lines.append(np.hstack(cells))
    return np.vstack(lines)


def contact_sheet(
    pictures: Sequence[tuple[NDArray[np.uint8], Sequence[str]]], height: int = 240, width: int = 1400
) -> NDArray[np.uint8]:
    """Arrange captioned images in a grid.

    Args:
        pictures: At least one pair of an image, (H, W, 3) uint8 BGR, and the lines of its caption; all captions have
            equally many lines.
        height: Height of an image in pixels. All cells are as wide as the widest image, up to 3:1.
        width: Width of the sheet in pixels; a row has as many cells as fit, at least one.

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
    """Add lines of black text above an image, (H, W, 3) uint8 BGR; long lines are cut at their start."""
    header = np.full((_CAPTION * len(lines), picture.shape[1], 3), 255, np.uint8)
    room = int(picture.shape[1] / _CHARACTER)
    for number, line in enumerate(map(printable, lines)):
        text = line if len(line) <= room else f"..{line[len(line) - room + 2 :]}"
        place = (2, 14 + number * _CAPTION)
        cv2.putText(header, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([header, picture])


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write an image, (H, W) or (H, W, 3) uint8 BGR, in the format of the suffix; its folder is made.

    It is written whole or not at all.

    Raises:
        DataError: The file cannot be written (``cv2.imwrite`` would not raise an error).
    """
    try:
        content = encode_picture(picture, path.suffix)
    except OSError as error:
        raise WriteError.of(path, error) from error
    write_bytes(path, content)


def encode_picture(picture: NDArray[Any], suffix: str) -> bytes:
    """Encode an image, (H, W) or (H, W, 3) BGR, in the format of a suffix such as ``'.png'``.

    Raises:
        OSError: The format cannot store the image.
    """
    try:
        done, content = cv2.imencode(suffix, picture)
    except cv2.error as error:
        raise OSError(f"a picture of {picture.shape[1]}x{picture.shape[0]} cannot be encoded as {suffix}") from error
    if not done:
        raise OSError(f"a picture of {picture.shape[1]}x{picture.shape[0]} cannot be encoded as {suffix}")
    return content.tobytes()


def _fit(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale an image to fit a white cell and centre it there."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    cell: np.ndarray = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    cell[top : top + small.shape[0], left : left + small.shape[1]] = small
    return cell


def _spaced(cell: np.ndarray) -> np.ndarray:
    return np.pad(cell, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
