"""Read labelme's JSON: one file for each image."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from samplug.converters.annotations import AnnotatedImage, Annotations, Problem, Region, relative_path
from samplug.imaging.shapes import LabelmeMask, LabelmeShape, RegionShape, ShapeUnion, shorten
from samplug.utils.errors import DataError
from samplug.utils.files import read_json

# labelme's names for unjudged pixels and for holes.
_UNJUDGED = "__ignore__"
_HOLE = "_background_"


def read_labelme(source: Path, images: Path | None = None) -> Annotations:
    """Read labelme's JSON files in a folder and its subfolders; images without a JSON file are left out.

    Args:
        source: Folder of JSON files.
        images: Folder of images, with the subfolders of ``source``; by default images are at their ``imagePath``.

    Raises:
        DataError: The folder contains no JSON file.
    """
    paths = sorted(path for path in source.rglob("*.json") if not path.name.startswith("."))
    if not paths:
        raise DataError(f"data: {source} is not a folder with labelme JSON files")
    categories: set[str] = set()
    entries: list[AnnotatedImage] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            content = read_json(path)
        except DataError as error:
            problems.append(Problem(str(path), str(error)))
            continue
        image_path = content.get("imagePath") if isinstance(content, dict) else None
        shapes = content.get("shapes") if isinstance(content, dict) else None
        name = relative_path(image_path.replace("\\", "/").rsplit("/", 1)[-1]) if isinstance(image_path, str) else None
        if not isinstance(shapes, list) or name is None:
            is_coco = isinstance(content, dict) and isinstance(content.get("annotations"), list)
            advice = "; it looks like COCO's: name this file, not its folder" if is_coco else ""
            problems.append(Problem(str(path), f"is not labelme JSON: it lacks shapes or imagePath{advice}"))
            continue
        folder = path.relative_to(source).parent
        found = images / folder / name if images else path.parent / str(image_path).replace("\\", "/")
        entry = AnnotatedImage(found, PurePosixPath(folder.as_posix()) / name)
        if not found.is_file() and content.get("imageData"):
            entry.source, entry.embedded = path, True
        elif not found.is_file():
            entry.problems.append(f"is the imagePath of {path}, which has no imageData either")
        if isinstance(content.get("imageHeight"), int) and isinstance(content.get("imageWidth"), int):
            entry.stated_size = (content["imageHeight"], content["imageWidth"])
        _add_regions(entry, shapes, path)
        categories.update(region.category for region in entry.regions)
        entries.append(entry)
    return Annotations(source, "labelme", frozenset(categories), entries, problems)


def _add_regions(entry: AnnotatedImage, shapes: Sequence[Any], path: Path) -> None:
    """Add the objects of a file; shapes with the same label and ``group_id`` form one object, as in labelme."""
    objects: dict[tuple[str, Any], list[tuple[int, RegionShape]]] = {}
    for index, shape in enumerate(shapes):
        label = f"shape {index} of {path.name}"
        category = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(category, str):
            entry.problems.append(f"{label} lacks a label: {shorten(shape)}")
        elif category == _HOLE:
            entry.problems.append(f"{label} is a hole ({_HOLE!r}): draw the object without it, or as a mask")
        else:
            kind, points = shape.get("shape_type") or "polygon", shape.get("points")  # old files have no type
            drawn: RegionShape = (
                LabelmeMask(shape.get("mask"), points) if kind == "mask" else LabelmeShape(str(kind), points)
            )
            group = shape.get("group_id")
            # A shape without a group forms its own group.
            objects.setdefault((category, f"shape {index}" if group is None else repr(group)), []).append(
                (index, drawn)
            )
    for (category, _), parts in objects.items():
        numbers = ", ".join(str(index) for index, _ in parts)
        label = f"shape{'s' if len(parts) > 1 else ''} {numbers} of {path.name} ({category!r})"
        whole = parts[0][1] if len(parts) == 1 else ShapeUnion([part for _, part in parts])
        entry.regions.append(Region(label, category, whole, crowd=category == _UNJUDGED))
