"""Read COCO's JSON: one file for all images. LVIS and most annotation tools write it too."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from samplug.converters.annotations import AnnotatedImage, Annotations, Problem, Region, relative_path
from samplug.imaging.shapes import segmentation_shape, shorten
from samplug.utils.errors import DataError
from samplug.utils.files import read_json

# Number of file names by which the folder of images is found.
_TRIED_IMAGES = 20


def read_coco(source: Path, images: Path | None = None) -> Annotations:
    """Read a COCO JSON file.

    Args:
        source: The JSON file.
        images: Folder that ``file_name`` is relative to. By default the first of these that contains images of the
            file: the folder of the JSON file, ``images`` in it or beside it, and folders in or beside it whose name is
            part of the name of the JSON file (``annotations/instances_train2017.json``: ``train2017``).

    Raises:
        DataError: The file is not COCO JSON, or the folder of images is not found.
    """
    content = read_json(source)
    image_entries, annotations, category_entries = (
        _section(source, content, name) for name in ("images", "annotations", "categories")
    )
    categories = _categories(source, category_entries)
    problems: list[Problem] = []
    by_id: dict[Any, AnnotatedImage] = {}
    for index, entry in enumerate(image_entries):
        where = f"{source}: images[{index}]"
        image_id = entry.get("id")
        name = _file_name(entry)
        if not isinstance(image_id, int | str):
            problems.append(Problem(where, f"has the id {shorten(image_id)}: neither a number nor a string"))
        elif image_id in by_id:
            problems.append(Problem(where, f"has the id {image_id!r} of {by_id[image_id].name} too"))
            by_id[image_id].problems.append(f"has the id {image_id!r} of images[{index}] too")
        elif name is None:
            problems.append(
                Problem(
                    where, f"has the file_name {shorten(entry.get('file_name'))}: not a path inside a folder of images"
                )
            )
        else:
            stated = (entry["height"], entry["width"]) if {"height", "width"} <= entry.keys() else None
            by_id[image_id] = AnnotatedImage(Path(name), name, stated_size=stated)
    folder = _image_folder(source, images, list(by_id.values()))
    for image in by_id.values():
        image.source = folder / image.name
    for index, entry in enumerate(annotations):
        label = f"annotation {entry.get('id', f'number {index}')}"
        owner = by_id.get(entry["image_id"]) if isinstance(entry.get("image_id"), int | str) else None
        if owner is None:
            problems.append(Problem(f"{source}: {label}", f"has the unknown image_id {shorten(entry.get('image_id'))}"))
            continue
        category_id = entry.get("category_id")
        if not isinstance(category_id, int | str) or category_id not in categories:
            owner.problems.append(f"{label} has the unknown category_id {shorten(category_id)}")
            continue
        shape, crowd = segmentation_shape(entry.get("segmentation")), bool(entry.get("iscrowd", 0))
        owner.regions.append(Region(label, categories[category_id], shape, crowd))
    return Annotations(source, "coco", frozenset(categories.values()), list(by_id.values()), problems)


def _section(source: Path, content: Any, name: str) -> list[dict[str, Any]]:
    entries = content.get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"data: {source} is not COCO JSON: it has no list of {name}")
    return entries


def _categories(source: Path, entries: Sequence[dict[str, Any]]) -> dict[int | str, str]:
    names: dict[int | str, str] = {}
    for index, entry in enumerate(entries):
        key, name = entry.get("id"), entry.get("name")
        if not isinstance(key, int | str) or not isinstance(name, str):
            raise DataError(f"data: {source}: categories[{index}] lacks an id or a name: {shorten(entry)}")
        if names.setdefault(key, name) != name:
            raise DataError(f"data: {source}: the category id {key!r} stands for {names[key]!r} and {name!r}")
    return names


def _file_name(entry: dict[str, Any]) -> PurePosixPath | None:
    """Return ``file_name``; for LVIS 1.0, which has none, folder and file of ``coco_url``."""
    if "file_name" not in entry and isinstance(entry.get("coco_url"), str):
        return relative_path("/".join(entry["coco_url"].split("/")[-2:]))
    name = entry.get("file_name")
    return relative_path(name) if isinstance(name, str) else None


def _image_folder(source: Path, images: Path | None, entries: Sequence[AnnotatedImage]) -> Path:
    if images is not None:
        if not images.is_dir():
            raise DataError(f"data: the folder of images {images} does not exist")
        return images
    around = (source.parent, source.parent.absolute().parent)
    named = [
        path for folder in around for path in sorted(folder.iterdir()) if path.is_dir() and path.name in source.stem
    ]
    candidates = [source.parent, *(folder / "images" for folder in around), *named]
    names = [entry.name for entry in entries[:_TRIED_IMAGES]]
    for folder in candidates:
        if any((folder / name).is_file() for name in names):
            return folder
    if not entries:
        return source.parent
    raise DataError(
        f"data: the images of {source} ({', '.join(map(str, names[:2]))}, ...) are in none of "
        f"{', '.join(map(str, candidates))}: name their folder with --images"
    )
