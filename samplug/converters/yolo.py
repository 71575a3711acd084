"""Read YOLO's segmentation labels.

Each image has a text file with a line ``class x1 y1 x2 y2 ...`` for each object; coordinates are shares of the sides.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from samplug.converters.annotations import AnnotatedImage, Annotations, Problem, Region
from samplug.imaging.files import IMAGE_SUFFIXES
from samplug.imaging.shapes import Polygons, shorten
from samplug.utils.errors import DataError

_SPLITS = ("train", "val", "test")


def read_yolo(source: Path, images: Path | None = None) -> Annotations:
    """Read YOLO's folders; an image without a label file, or with an empty one, is background.

    Args:
        source: A folder with ``images/`` and ``labels/`` (and subfolders), a data.yaml, or the folder of one. Class
            names come from data.yaml or ``classes.txt``; without either, the class numbers are the names.
        images: Folder of images in place of ``images/``; ``source`` may then be the folder of labels itself.

    Raises:
        DataError: The folders do not exist, or data.yaml cannot be used.
    """
    given = source if source.is_file() else source / "data.yaml"
    config = _read_yaml(given) if given.is_file() else {}
    root = source if source.is_dir() else source.parent
    names = _names(config, given, root)
    if images is None and (source.is_file() or not (root / "images").is_dir()):
        folders = list(_split_folders(config, given))
    else:
        labels = root / "labels" if images is None or (root / "labels").is_dir() else root
        folders = [(images or root / "images", labels, PurePosixPath())]
    entries: list[AnnotatedImage] = []
    problems: list[Problem] = []
    for image_folder, label_folder, target in folders:
        if not image_folder.is_dir() or not label_folder.is_dir():
            missing = label_folder if image_folder.is_dir() else image_folder
            raise DataError(f"data: the folder {missing} does not exist: YOLO data are images/ and labels/")
        used: set[Path] = set()
        for path in sorted(image_folder.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
                name = path.relative_to(image_folder)
                entry = AnnotatedImage(path, target / name.as_posix())
                label_file = (label_folder / name).with_suffix(".txt")
                used.add(label_file)
                if label_file.is_file():
                    _add_regions(entry, label_file, names)
                entries.append(entry)
        for path in sorted(set(label_folder.rglob("*.txt")) - used):
            if path.name != "classes.txt":
                problems.append(Problem(str(path), f"has no image of its name in {image_folder}"))
    categories = names.values() if names else {region.category for entry in entries for region in entry.regions}
    return Annotations(source, "yolo", frozenset(categories), entries, problems)


def _add_regions(entry: AnnotatedImage, path: Path, names: dict[int, str]) -> None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        entry.problems.append(f"{path} cannot be read: {error}")
        return
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"line {number} of {path.name}"
        try:
            first, *coordinates = (float(word) for word in line.split())
        except ValueError:
            entry.problems.append(f"{where} contains something other than numbers: {shorten(line)}")
            continue
        if not first.is_integer() or (names and first not in names):
            known = f"; known are 0 to {max(names)}" if names else ""
            entry.problems.append(f"{where} has the unknown class {first:g}{known}")
            continue
        category = names[int(first)] if names else str(int(first))
        entry.regions.append(Region(where, category, Polygons([coordinates], normalised=True)))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"data: {path} cannot be read as yaml: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"data: {path} is not a data.yaml: it contains {shorten(content)}")
    return content


def _names(config: dict[str, Any], given: Path, root: Path) -> dict[int, str]:
    """Read the class names by number; empty if no file has them."""
    names = config.get("names")
    if names is None:
        lists = [path for path in (root / "classes.txt", root / "labels" / "classes.txt") if path.is_file()]
        names = lists[0].read_text(encoding="utf-8").split("\n") if lists else []
        names = [name.strip() for name in names if name.strip()]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        raise DataError(f"data: {given}: names is {shorten(names)}, neither a list nor a mapping of numbers to names")
    return {key: str(name) for key, name in names.items()}


def _split_folders(config: dict[str, Any], given: Path) -> Iterator[tuple[Path, Path, PurePosixPath]]:
    """Yield image folder, label folder and folder of the result for each split that data.yaml names."""
    entries = [(split, config[split]) for split in _SPLITS if config.get(split)]
    if not entries:
        raise DataError(f"data: {given.parent} has no images/, and no {given.name} that names train, val or test")
    root = given.parent / str(config.get("path") or "")
    for split, value in entries:
        for text in value if isinstance(value, list) else [value]:
            folder = root / str(text)
            if not folder.is_dir() and str(text).startswith("../"):
                folder = root / str(text)[3:]  # Roboflow writes ../train/images for a folder beside the yaml
            if not folder.is_dir():
                raise DataError(f"data: {given}: {split} names {root / str(text)}, which is not a folder")
            parts = list(folder.parts)
            if "images" not in parts:
                raise DataError(f"data: {given}: {split} names {folder}: it must be, or be in, a folder called images")
            last = len(parts) - 1 - parts[::-1].index("images")
            yield folder, Path(*parts[:last], "labels", *parts[last + 1 :]), PurePosixPath(split)
