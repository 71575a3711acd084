"""Read YOLO's segmentation labels.

Each image has a text file with a line ``class x1 y1 x2 y2 ...`` for each object; coordinates are shares of the sides.
"""

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from samplug.converters.annotations import AnnotatedImage, Annotations, Problem, Region, is_text_name
from samplug.converters.text_files import naming, read_text, read_yaml
from samplug.converters.yolo_splits import Split, find_splits
from samplug.imaging.listing import list_files
from samplug.imaging.shapes import Polygons
from samplug.utils.errors import DataError
from samplug.utils.text import shorten

# Larger class numbers come from damaged lines; the largest datasets have about 20,000 classes.
_CLASSES = 10**6
# Share of labels that must look like a box with keypoints.
_POSES = 0.75


def read_yolo(source: Path, images: Path | None = None) -> Annotations:
    """Read YOLO segmentation labels; images without a label file, or with an empty label file, are background.

    Images and label files are paired by name; names that differ only in percent-encoding or Unicode form match if the
    match is unique. If label files without an image remain, images without a label file are problems.

    Args:
        source: Folder with ``images/`` and ``labels/`` (and subfolders), a data.yaml, or a folder with a data.yaml.
            Class names come from data.yaml or ``classes.txt``; without these, class numbers are the names.
        images: Folder of images instead of ``images/``; ``source`` may then be the folder of labels itself.

    Raises:
        DataError: A folder does not exist, data.yaml cannot be used, or the labels are boxes with keypoints.
    """
    given = source if source.is_file() else source / "data.yaml"
    config = read_yaml(given) if given.is_file() else {}
    if config.get("kpt_shape") is not None:
        raise _pose_error(f"{given}: kpt_shape is {shorten(config['kpt_shape'])}, so its labels are")
    root = source if source.is_dir() else source.parent
    with naming(given):
        names = _names(config, given, root)
        problems: list[Problem] = []
        splits = find_splits(config, given, root, images, source.is_file(), problems)
    entries = [entry for split in splits for entry in _entries(split, names, problems)]
    regions = [region for entry in entries for region in entry.regions]
    if _are_poses([region.shape.parts[0] for region in regions if isinstance(region.shape, Polygons)]):
        raise _pose_error(f"the labels of {source} are")
    categories = names.values() if names else {region.category for region in regions}
    return Annotations(source, "yolo", frozenset(categories), entries, problems)


def _pose_error(where: str) -> DataError:
    return DataError(
        f"data: {where} YOLO-pose labels: boxes with keypoints instead of outlines; samplug converts only "
        "YOLO's segmentation labels"
    )


def _entries(split: Split, names: dict[int, str], problems: list[Problem]) -> list[AnnotatedImage]:
    """Read the labels of all images of a split."""
    label_files, more = list_files(split.labels, ".txt", recursive=True)
    problems += (Problem(*item) for item in more.items())
    label_files = {name: path for name, path in label_files.items() if path.name != "classes.txt"}
    paired = _paired(split.images, label_files)
    orphans = sorted(set(label_files.values()) - set(paired.values())) if split.complete else []
    problems += (Problem(str(path), f"has no image of its name in {split.folder}") for path in orphans)
    entries = []
    for name, path in split.images.items():
        entry = AnnotatedImage(path, split.target / path.relative_to(split.folder).as_posix())
        if name in paired:
            _add_regions(entry, paired[name], names)
        elif orphans:
            entry.problems.append(
                f"has no label file, and {len(orphans)} label files have no image, such as {orphans[0]}: give "
                "matching files the same name, and remove other label files"
            )
        entries.append(entry)
    return entries


def _paired(images: Mapping[str, Path], labels: Mapping[str, Path]) -> dict[str, Path]:
    """Return image name -> label file, for images with a label file."""
    paired = {name: labels[name] for name in images if name in labels}
    alike: dict[str, tuple[list[str], list[str]]] = {}
    for side, names in enumerate((images.keys() - labels.keys(), labels.keys() - images.keys())):
        for name in names:
            alike.setdefault(unicodedata.normalize("NFC", unquote(name)), ([], []))[side].append(name)
    paired |= {ours[0]: labels[theirs[0]] for ours, theirs in alike.values() if len(ours) == len(theirs) == 1}
    return paired


def _add_regions(entry: AnnotatedImage, path: Path, names: dict[int, str]) -> None:
    try:
        lines = read_text(path).splitlines()
    except DataError as error:
        entry.problems.append(str(error).removeprefix("data: "))
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
        if not first.is_integer() or not 0 <= first < _CLASSES or (names and first not in names):
            known = f"; known are 0 to {max(names)}" if names else ""
            entry.problems.append(f"{where} has the unknown class {first:g}{known}")
            continue
        category = names[int(first)] if names else str(int(first))
        entry.regions.append(Region(where, category, Polygons([coordinates], normalised=True)))


def _are_poses(labels: list[Any]) -> bool:
    """Return True if all labels have the same number of columns, and most look like a box with keypoints in it.

    Keypoints may have a third number for visibility (0, 1 or 2); keypoints at (0, 0) are not annotated. Outlines, in
    contrast, differ in their number of points, and their second point is not the size of a box around the others.
    """
    columns = len(labels[0]) if labels else 0
    if columns < 7 or any(len(label) != columns for label in labels):
        return False
    table: Any = np.array(labels)
    for values, fewest in ((3, 1), (2, 3)):  # four corners may also be an outline
        number, rest = divmod(columns - 4, values)
        if rest or number < fewest:
            continue
        points = table[:, 4:].reshape(len(table), number, values)
        if values == 3 and not np.isin(points[..., 2], (0, 1, 2)).all():
            continue
        marked = points[..., :2].any(axis=2)
        beside = np.abs(points[..., :2] - table[:, None, :2]) > table[:, None, 2:4] / 2 + 0.01
        inside = ~(beside.any(axis=2) & marked).any(axis=1) & marked.any(axis=1)
        if (values == 3 and (points[..., 2] == 2).any()) or (inside & _fits(points, marked, table)).mean() >= _POSES:
            return True
    return False


def _fits(points: Any, marked: Any, table: Any) -> Any:
    """Return which boxes fit their keypoints: the centre is well inside their extent, and the sizes are similar.

    The first corner of an outline lies at the edge of its extent, and the second corner is not a size.
    """
    places = np.where(marked[..., None], points[..., :2], np.nan)
    with np.errstate(invalid="ignore"):
        low, high = np.fmin.reduce(places, axis=1), np.fmax.reduce(places, axis=1)
    extent = high - low
    share = np.divide(table[:, :2] - low, extent, out=np.zeros_like(low), where=extent > 0)
    return ((np.abs(share - 0.5) < 0.4) & (table[:, 2:4] < 3 * extent)).all(axis=1)


def _names(config: dict[str, Any], given: Path, root: Path) -> dict[int, str]:
    """Read the class names by number; empty if no file has them."""
    names = config.get("names")
    if names is None:
        lists = [path for path in (root / "classes.txt", root / "labels" / "classes.txt") if path.is_file()]
        lines = read_text(lists[0]).splitlines() if lists else []
        return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        raise DataError(f"data: {given}: names is {shorten(names)}, neither a list nor a mapping of numbers to names")
    known = {key: str(name) for key, name in names.items()}
    if unusable := [name for name in known.values() if not is_text_name(name)]:
        raise DataError(f"data: {given}: the class name {shorten(unusable[0])} is not text")
    return known
