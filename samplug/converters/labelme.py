"""Read labelme's JSON files, one for each image. X-AnyLabeling writes the same format."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from samplug.converters.annotations import (
    AnnotatedImage,
    Annotations,
    Problem,
    Region,
    is_text_name,
    relative_path,
    stated_size,
)
from samplug.converters.text_files import naming
from samplug.imaging.decoding import file_kind
from samplug.imaging.files import IMAGE_SUFFIXES
from samplug.imaging.limits import UndecodableError
from samplug.imaging.listing import list_files
from samplug.imaging.shapes import LabelmeMask, LabelmeShape, RegionShape, ShapeUnion
from samplug.utils.errors import DataError
from samplug.utils.files import read_json
from samplug.utils.text import listed, shorten

# labelme's names for unjudged pixels and for holes.
_UNJUDGED = "__ignore__"
_HOLE = "_background_"
# Shapes stored by their corners: rotated rectangles of labelme, and shapes of X-AnyLabeling.
_BY_CORNERS = ("oriented_rectangle", "rotation", "quadrilateral")


def read_labelme(source: Path, images: Path | None = None) -> Annotations:
    """Read labelme's JSON files in a folder and its subfolders; images without a JSON file are left out.

    Args:
        source: Folder of JSON files.
        images: Folder of images, with the subfolders of ``source``; by default images are at their ``imagePath``.

    Raises:
        DataError: The folder contains no JSON file.
    """
    paths, _ = list_files(source, ".json", recursive=True)
    if not paths:
        raise DataError(f"data: {source} is not a folder with labelme JSON files")
    entries: list[AnnotatedImage] = []
    problems: list[Problem] = []
    for path in paths.values():
        try:
            with naming(path):
                entries.append(_read_file(path, path.relative_to(source).parent, images))
        except DataError as error:
            problems.append(Problem(str(path), str(error).removeprefix(f"data: {path} ")))
    categories = frozenset(region.category for entry in entries for region in entry.regions)
    return Annotations(source, "labelme", categories, entries, problems)


def _read_file(path: Path, folder: Path, images: Path | None) -> AnnotatedImage:
    content = read_json(path)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    image_path = content.get("imagePath") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not isinstance(image_path, str):
        is_coco = isinstance(content, dict) and isinstance(content.get("annotations"), list)
        advice = "; it looks like COCO JSON: name this file, not its folder" if is_coco else ""
        raise DataError(f"data: {path} is not labelme JSON: it lacks shapes or imagePath{advice}")
    image_path = image_path.replace("\\", "/")
    name = relative_path(image_path.rsplit("/", 1)[-1])
    found = None if name is None else images / folder / name if images else path.parent / image_path
    target = PurePosixPath(folder.as_posix())
    if found is not None and found.name != path.name and os.path.isfile(found):
        entry = AnnotatedImage(found, target / found.name)
    elif content.get("imageData"):
        entry = AnnotatedImage(path, PurePosixPath(), embedded=True)
        is_image = name is not None and name.suffix.lower() in IMAGE_SUFFIXES
        entry.name = target / (name if name is not None and is_image else path.stem + _suffix(entry))
    elif name is None:
        raise DataError(f"data: {path} has the imagePath {shorten(image_path)}, which is not the name of a file")
    else:
        # Absolute path of another computer: use the image beside the JSON file.
        beside = (images / folder if images else path.parent) / name
        entry = AnnotatedImage(beside, target / name)
        if not os.path.isfile(beside):
            entry.problems.append(f"is the imagePath of {path}, which has no imageData either")
    try:
        entry.stated_size = stated_size(content.get("imageHeight"), content.get("imageWidth"))
    except ValueError as error:
        entry.problems.append(str(error))
    _add_regions(entry, shapes, path)
    return entry


def _suffix(entry: AnnotatedImage) -> str:
    """Return the file suffix that matches the content of an embedded image."""
    try:
        return f".{file_kind(entry.embedded_bytes()).lower()}"
    except UndecodableError as error:
        raise DataError(f"data: {entry.source} embeds imageData that is not an image: it {error}") from error


def _add_regions(entry: AnnotatedImage, shapes: Sequence[Any], path: Path) -> None:
    """Add the objects of a file; shapes with the same label and ``group_id`` form one object, as in labelme."""
    objects: dict[tuple[str, Any], list[tuple[int, RegionShape]]] = {}
    for index, shape in enumerate(shapes):
        label = f"shape {index} of {path.name}"
        category = shape.get("label") if isinstance(shape, dict) else None
        if not is_text_name(category):
            entry.problems.append(f"{label} lacks a label: {shorten(shape)}")
        elif category == _HOLE:
            entry.problems.append(f"{label} is a hole ({_HOLE!r}): draw the object without it, or as a mask")
        else:
            group = shape.get("group_id")
            # A shape without a group forms its own group.
            key = f"shape {index}" if group is None else repr(group)
            objects.setdefault((category, key), []).append((index, _drawn(shape)))
    for (category, _), parts in objects.items():
        numbers = listed((str(index) for index, _ in parts), 20)
        label = f"shape{'s' if len(parts) > 1 else ''} {numbers} of {path.name} ({shorten(category)})"
        whole = parts[0][1] if len(parts) == 1 else ShapeUnion([part for _, part in parts])
        entry.regions.append(Region(label, category, whole, crowd=category == _UNJUDGED))


def _drawn(shape: dict[str, Any]) -> RegionShape:
    """Convert a labelme shape, which may be invalid."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")  # old files have no shape_type
    if kind == "mask":
        return LabelmeMask(shape.get("mask"), points)
    corners = kind == "rectangle" and isinstance(points, list) and len(points) == 4
    return LabelmeShape("polygon" if corners or kind in _BY_CORNERS else str(kind)[:40], points)
