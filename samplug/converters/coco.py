"""Read COCO's JSON: one file for all images. LVIS and most annotation tools write it too."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samplug.converters.annotations import (
    AnnotatedImage,
    Annotations,
    Problem,
    Region,
    found_path,
    is_text_name,
    stated_flag,
    stated_size,
)
from samplug.converters.text_files import naming
from samplug.imaging.shapes import segmentation_shape
from samplug.utils.errors import DataError
from samplug.utils.files import read_json
from samplug.utils.text import listed, shorten

# Number of file names by which the folder of images is found.
_TRIED_IMAGES = 20

_Entry = dict[str, Any]
_Key = int | str | None


def read_coco(source: Path, images: Path | None = None) -> Annotations:
    """Read a COCO JSON file.

    Args:
        source: The JSON file.
        images: Folder to which ``file_name`` is relative. None: the first of these folders that contains images of the
            file: the folder of the JSON file; ``images`` in it or beside it; folders in or beside it, or in
            ``images``, whose name is part of the JSON file's name (``annotations/instances_train2017.json``:
            ``train2017``; CVAT's ``annotations/instances_default.json``: ``images/default``).

    Raises:
        DataError: The file is not COCO JSON, or no folder contains its images.
    """
    content = read_json(source)
    with naming(source):
        image_entries, annotations, category_entries = (
            _section(source, content, name) for name in ("images", "annotations", "categories")
        )
        categories = _categories(source, category_entries)
        folder = _image_folder(source, images, [text for entry in image_entries if (text := _file_name(entry))])
        problems: list[Problem] = []
        by_id = _images(source, image_entries, folder, problems)
        for index, entry in enumerate(annotations):
            label = f"annotation {shorten(entry['id']) if 'id' in entry else f'number {index}'}"
            owner = by_id.get(_key(entry.get("image_id")))
            if owner is None:
                what = f"has the unknown image_id {shorten(entry.get('image_id'))}"
                problems.append(Problem(f"{source}: {label}", what))
            else:
                _add_region(owner, label, entry, categories)
    return Annotations(source, "coco", frozenset(categories.values()), list(by_id.values()), problems)


def _section(source: Path, content: Any, name: str) -> list[_Entry]:
    """Return a list of entries of the file; elements that are not JSON objects become empty entries."""
    entries = content.get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"data: {source} is not COCO JSON: it has no list of {name}")
    return [entry if isinstance(entry, dict) else {} for entry in entries]


def _categories(source: Path, entries: Sequence[_Entry]) -> dict[_Key, str]:
    names: dict[_Key, str] = {}
    for index, entry in enumerate(entries):
        key, name = _key(entry.get("id")), entry.get("name")
        if key is None or not is_text_name(name):
            raise DataError(f"data: {source}: categories[{index}] lacks an id or a name: {shorten(entry)}")
        if names.setdefault(key, name) != name:
            raise DataError(
                f"data: {source}: the category id {shorten(key)} stands for {shorten(names[key])} and {shorten(name)}"
            )
    return names


def _images(
    source: Path, entries: Sequence[_Entry], folder: Path, problems: list[Problem]
) -> dict[_Key, AnnotatedImage]:
    """Return the images by id; add unusable entries to ``problems``."""
    by_id: dict[_Key, AnnotatedImage] = {}
    for index, entry in enumerate(entries):
        where = f"{source}: images[{index}]"
        image_id, text = _key(entry.get("id")), _file_name(entry)
        name = found_path(text, folder) if text else None
        if image_id is None:
            problems.append(Problem(where, f"has the id {shorten(entry.get('id'))}: neither a number nor a string"))
        elif image_id in by_id:
            problems.append(Problem(where, f"has the id {shorten(image_id)} of {by_id[image_id].name} too"))
            by_id[image_id].problems.append(f"has the id {shorten(image_id)} of images[{index}] too")
        elif name is None:
            what = f"has the file_name {shorten(text)}: not a path of an image in {folder}"
            problems.append(Problem(where, what))
        else:
            by_id[image_id] = image = AnnotatedImage(folder / name, name)
            try:
                image.stated_size = stated_size(entry.get("height"), entry.get("width"))
            except ValueError as error:
                image.problems.append(str(error))
    return by_id


def _add_region(image: AnnotatedImage, label: str, entry: _Entry, categories: Mapping[_Key, str]) -> None:
    """Add an annotation's object to its image, or the reason why it cannot be used."""
    category = categories.get(_key(entry.get("category_id")))
    if category is None:
        image.problems.append(f"{label} has the unknown category_id {shorten(entry.get('category_id'))}")
        return
    try:
        crowd = stated_flag(entry.get("iscrowd"))
    except ValueError as error:
        image.problems.append(f"{label} has the iscrowd {error}")
        return
    image.regions.append(Region(label, category, segmentation_shape(entry.get("segmentation")), crowd))


def _key(value: Any) -> _Key:
    """Return an id, with 7.0 and ``"7"`` (written by some converters) as 7; None if the value is not an id."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and value == (value.lstrip("0")[:18] or "0"):
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _file_name(entry: _Entry) -> str | None:
    """Return ``file_name``; for LVIS 1.0, which has none, folder and file of ``coco_url``."""
    if "file_name" not in entry and isinstance(entry.get("coco_url"), str):
        return "/".join(entry["coco_url"].split("/")[-2:])
    name = entry.get("file_name")
    return name if isinstance(name, str) else None


def _image_folder(source: Path, images: Path | None, names: Sequence[str]) -> Path:
    if images is not None:
        if not images.is_dir():
            raise DataError(f"data: the folder of images {images} does not exist")
        return images
    tried = names[:_TRIED_IMAGES]
    candidates = list(_candidates(source))
    for folder in candidates:
        if any((path := found_path(name, folder)) and os.path.isfile(folder / path) for name in tried):
            return folder
    if not names:
        return source.parent
    raise DataError(
        f"data: the images of {source} ({listed(map(shorten, names), 2)}) are in none of "
        f"{listed(map(str, candidates), 5)}: name their folder with --images"
    )


def _candidates(source: Path) -> Iterator[Path]:
    """Yield the folders to search for images."""
    around = (source.parent, source.parent.absolute().parent)
    yield source.parent
    yield from (folder / "images" for folder in around)
    for folder in (*around, *(folder / "images" for folder in around)):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if path.is_dir() and path.name in source.stem)
