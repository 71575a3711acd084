"""Export masks as annotations of other tools; corrected annotations are read back by ``to_masks``."""

import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from samplug.converters.outlines import connected_parts, outline_polygon
from samplug.converters.text_files import write_json
from samplug.utils.errors import DataError
from samplug.utils.extensions import Extensions
from samplug.utils.files import replacing_folder, write_text
from samplug.utils.rle import RLE, decode_rle, encode_rle, rle_area, rle_box, union

# Largest distance in pixels between a polygon and the border that it outlines.
_TOLERANCE = 1.0
# Names that Windows does not allow: reserved characters, a trailing blank or dot, device names.
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\\\x00-\x1f]|[ .]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)
# Functions (images, empty folder, class names) -> number of objects. Other packages add theirs as entry points.
EXPORTS = Extensions(
    "export format",
    "samplug.exports",
    {name: f"samplug.converters.from_masks:write_{name}" for name in ("coco", "labelme", "yolo")},
)


@dataclass(frozen=True)
class LabelledImage:
    """An image with a label map.

    Attributes:
        name: Path without suffix; annotations get this name.
        image: Image file.
        labels: (H, W) class indexes; 0 is background.
    """

    name: str
    image: Path
    labels: NDArray[Any]

    @property
    def file_name(self) -> str:
        """Name with the suffix of the image."""
        return f"{self.name}{self.image.suffix}"

    @property
    def size(self) -> dict[str, int]:
        """Size in COCO's keys."""
        return {"height": self.labels.shape[0], "width": self.labels.shape[1]}

    def parts(self) -> Iterator[tuple[int, NDArray[np.bool_], tuple[int, int]]]:
        """Yield class, cropped mask (h, w) bool and upper left pixel (x, y) of each connected part."""
        for label in np.unique(self.labels[self.labels > 0]).tolist():
            for part, corner in connected_parts(self.labels == label):
                yield label, part, corner

    def objects(self) -> Iterator[tuple[int, RLE]]:
        """Yield class and mask of each object, which is a connected part, as COCO RLE."""
        for label, part, (x, y) in self.parts():
            height, width = part.shape
            whole = np.zeros(self.labels.shape, bool)
            whole[y : y + height, x : x + width] = part
            yield label, encode_rle(whole)

    def polygons(self, edges: bool) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield class and outline (N, 2) of each part that has one, see :func:`outline_polygon`."""
        for label, part, corner in self.parts():
            ring = outline_polygon(part, _TOLERANCE, edges)
            if ring is not None:
                yield label, ring + corner


@dataclass(frozen=True)
class SegmentedImage(LabelledImage):
    """An image with masks of one class that may overlap, and may fall into parts.

    Attributes:
        masks: Masks as COCO RLE, one for each object; ``labels`` is 1 where there is any.
    """

    masks: Sequence[RLE] = ()

    @classmethod
    def of(cls, name: str, image: Path, shape: tuple[int, int], masks: Sequence[RLE]) -> "SegmentedImage":
        """Return an image of ``shape`` (height, width) with its masks; the rest as in :class:`LabelledImage`."""
        labels = decode_rle(union(masks)).astype(np.uint8) if masks else np.zeros(shape, np.uint8)
        return cls(name, image, labels, masks)

    def parts(self) -> Iterator[tuple[int, NDArray[np.bool_], tuple[int, int]]]:
        """Yield class 1, cropped mask (h, w) bool and upper left pixel (x, y) of each connected part of a mask."""
        for mask in self.masks:
            for part, corner in connected_parts(decode_rle(mask)):
                yield 1, part, corner

    def objects(self) -> Iterator[tuple[int, RLE]]:
        """Yield class 1 and each mask, whole."""
        for mask in self.masks:
            yield 1, mask


def export_annotations(
    images: Iterable[LabelledImage], folder: Path, format: str, classes: Sequence[str], overwrite: bool = False
) -> int:
    """Export label maps as annotations; every connected component of a class is one object.

    The masks of a :class:`SegmentedImage` are the objects of ``coco``; polygons are of their connected components.

    ``coco`` writes ``annotations.json`` with exact run-length encoding, ``labelme`` a JSON file for each image,
    ``yolo`` the folder ``labels/`` and ``data.yaml``. Polygons (labelme, YOLO) deviate from the border by at most one
    pixel; components too small for a polygon are left out, and holes are connected to the outline by a slit. ``coco``
    and ``yolo`` link the images into ``images/``, or copy them where links are not possible; labelme's files contain
    the paths of the original images.

    The folder is written under a temporary name and then renamed, so it is complete or does not exist.

    Args:
        images: Images with unique names.
        folder: Folder to write.
        format: A name of ``EXPORTS``.
        classes: Class names by index; the name of index 0 is not used.
        overwrite: Replace a folder that exists.

    Returns:
        Number of objects.

    Raises:
        DataError: The folder exists, is not a folder, or cannot be written.
    """
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        raise DataError(f"export: {folder} is a file or link, not a folder: move it away, or name another folder")
    if folder.exists() and not overwrite:
        raise DataError(f"export: {folder} exists, perhaps with corrections: move it away, or name another folder")
    unusual: list[str] = []
    try:
        with replacing_folder(folder) as partial:
            number: int = EXPORTS.load(format)(_noted(images, unusual), partial, classes)
    except OSError as error:
        raise DataError(f"export: {folder} cannot be written: {error.strerror or error}") from error
    if unusual:
        _warn(f"export: {len(unusual)} names cannot be used on Windows, the first is {unusual[0]!r}: {folder}")
    return number


def _noted(images: Iterable[LabelledImage], unusual: list[str]) -> Iterator[LabelledImage]:
    """Yield the images; add names that Windows does not allow to ``unusual``."""
    for image in images:
        parts = PurePosixPath(image.file_name).parts
        if any(_NOT_ON_WINDOWS.search(part) for part in parts):
            unusual.append(image.file_name)
        yield image


def write_coco(images: Iterable[LabelledImage], folder: Path, classes: Sequence[str]) -> int:
    """Write ``annotations.json`` with exact run lengths, and link the images."""
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    placed = _Images(folder)
    for image_id, image in enumerate(images, start=1):
        placed.add(image)
        entries.append({"id": image_id, "file_name": image.file_name, **image.size})
        for label, mask in image.objects():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label,
                    "segmentation": mask,
                    "area": rle_area(mask),
                    "bbox": rle_box(mask),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": index, "name": name} for index, name in enumerate(classes) if index]
    write_json(folder / "annotations.json", {"images": entries, "annotations": annotations, "categories": categories})
    return len(annotations)


def write_labelme(images: Iterable[LabelledImage], folder: Path, classes: Sequence[str]) -> int:
    """Write a JSON file of polygons for each image."""
    number = 0
    for image in images:
        shapes = [
            {"label": classes[label], "points": ring.tolist(), "group_id": None, "shape_type": "polygon", "flags": {}}
            for label, ring in image.polygons(edges=False)
        ]
        path = folder / f"{image.name}.json"
        size = {"imageHeight": image.labels.shape[0], "imageWidth": image.labels.shape[1]}
        content: dict[str, Any] = {
            "version": "5.0.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": _path_from(path.parent.resolve(), image.image.resolve()),
            "imageData": None,
            **size,
        }
        write_json(path, content)
        number += len(shapes)
    return number


def write_yolo(images: Iterable[LabelledImage], folder: Path, classes: Sequence[str]) -> int:
    """Write ``labels/`` and ``data.yaml`` of polygons, and link the images."""
    number = 0
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    placed = _Images(folder)
    for image in images:
        placed.add(image)
        sides = np.array(image.labels.shape[::-1])
        lines = [
            " ".join([str(label - 1), *(f"{value:.6f}" for value in (ring / sides).ravel())])
            for label, ring in image.polygons(edges=True)
        ]
        text = "".join(f"{line}\n" for line in lines)
        write_text(folder / "labels" / f"{image.name}.txt", text)
        number += len(lines)
    content: dict[str, Any] = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(classes[1:]))}
    write_text(folder / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return number


class _Images:
    """Folder ``images/`` of an export: links, or copies (with one warning) where links are not possible.

    Links need a privilege on Windows; exFAT and some network drives do not support them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "images"
        self._copies = False

    def add(self, image: LabelledImage) -> None:
        """Add a link or copy of an image."""
        path, source = self.folder / image.file_name, image.image.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._copies:
            try:
                return path.symlink_to(source)
            except (OSError, NotImplementedError) as error:
                self._copies = True
                reason = getattr(error, "strerror", None) or error
                _warn(f"export: links to images cannot be made here ({reason}): the images are copied")
        shutil.copyfile(source, path)


def _path_from(folder: Path, path: Path) -> str:
    """Return a path relative to a folder, or unchanged if both are on different drives of Windows."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        return str(path)


def _warn(text: str) -> None:
    from mmengine.logging import print_log  # imports torch

    print_log(text, "current", logging.WARNING)
