"""Find the images and labels of YOLO folders and data.yaml files."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from samplug.converters.annotations import Problem, found_path
from samplug.converters.text_files import read_text
from samplug.imaging.files import IMAGE_SUFFIXES
from samplug.imaging.listing import list_files
from samplug.utils.errors import DataError
from samplug.utils.text import printable, shorten

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Images of a split and the folder of their labels.

    Attributes:
        folder: Folder of the images.
        labels: Folder of the labels, with the same subfolders.
        target: Folder for the result.
        complete: True if all files in ``labels`` belong to these images.
        images: Name (path below ``folder`` without suffix) -> image.
    """

    folder: Path
    labels: Path
    target: PurePosixPath
    complete: bool = True
    images: dict[str, Path] = field(default_factory=dict)


def find_splits(
    config: dict[str, Any],
    given: Path,
    root: Path,
    images: Path | None,
    by_config: bool,
    problems: list[Problem],
) -> list[Split]:
    """Find the splits of a source.

    Args:
        config: Content of data.yaml.
        given: Path of data.yaml, for messages.
        root: Folder of the source.
        images: Folder of images given by the user.
        by_config: Use the splits of data.yaml even if there is a folder ``images``.
        problems: List to which unusable files are added.

    Raises:
        DataError: A folder does not exist, or data.yaml names a file that does not exist.
    """
    if images is None and (by_config or not (root / "images").is_dir()):
        return list(_named(config, given, problems))
    labels = root / "labels" if images is None or (root / "labels").is_dir() else root
    return [_whole(images or root / "images", labels, PurePosixPath(), problems)]


def _whole(folder: Path, labels: Path, target: PurePosixPath, problems: list[Problem]) -> Split:
    """Return a split with all images of a folder."""
    for path in (folder, labels):
        if not path.is_dir():
            raise DataError(f"data: the folder {path} does not exist: YOLO data are images/ and labels/")
    images, more = list_files(folder, recursive=True)
    problems += (Problem(*item) for item in more.items())
    return Split(folder, labels, target, images={k: path for k, path in images.items() if str(path) not in more})


def _named(config: dict[str, Any], given: Path, problems: list[Problem]) -> Iterator[Split]:
    """Yield the splits of data.yaml, which may be folders, images, text files with paths, or lists of these."""
    entries = [(split, config[split]) for split in _SPLITS if config.get(split)]
    if not entries:
        raise DataError(f"data: {given.parent} has no images/, and no {given.name} that names train, val or test")
    path = config.get("path")
    roots = [given.parent / path] if isinstance(path, str) else []
    roots.append(given.parent)
    for split, value in entries:
        files: list[Path] = []
        for text in value if isinstance(value, list) else [value]:
            found = _find(str(text), roots)
            if found is not None and found.is_dir():
                labels = _labels(found)
                if labels is None:
                    raise DataError(
                        f"data: {given}: {split} names {found}: it must be, or be in, a folder called images"
                    )
                yield _whole(found, labels, PurePosixPath(split), problems)
            elif found is not None and found.suffix.lower() in IMAGE_SUFFIXES:
                files.append(found)
            elif found is not None:
                files += _listed(found, [found.parent, *roots], problems)
            else:
                hint = ": download it first, and name its folder" if "://" in str(text) else ""
                named = printable(roots[0] / str(text))[:160]
                raise DataError(
                    f"data: {given}: {split} names {named}, which is not a folder, a list of images or an image{hint}"
                )
        yield from _of_files(files, PurePosixPath(split))


def _find(text: str, folders: list[Path]) -> Path | None:
    """Find a file or folder by its path, even if the path is from another computer."""
    local = text.strip().replace("\\", "/")
    for folder in folders:
        # Roboflow writes ../train/images for a folder beside data.yaml.
        for path in (folder / local, folder / local.removeprefix("../")):
            if os.path.isdir(path) or os.path.isfile(path):
                return path
    ends = ((folder, found_path(text.strip(), folder)) for folder in folders)
    return next((folder / end for folder, end in ends if end and os.path.isfile(folder / end)), None)


def _listed(path: Path, folders: list[Path], problems: list[Problem]) -> Iterator[Path]:
    """Yield the images of a text file with one path per line."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            found = _find(line, folders)
            if found is None or not found.is_file():
                problems.append(Problem(f"{path}, line {number}", f"names {shorten(line)}, which is not a file"))
            else:
                yield found


def _of_files(files: list[Path], target: PurePosixPath) -> Iterator[Split]:
    """Group images by their folder ``images``; without this folder, labels are beside the images."""
    splits: dict[Path, Split] = {}
    for path in files:
        at = _images_part(path.parent)
        folder = path.parent if at is None else Path(*path.parts[: at + 1])
        if path.is_relative_to(folder / target):  # images/train/a.jpg in train: same result as the folder images/train
            folder /= target
        labels = _labels(folder) or folder
        split = splits.setdefault(folder, Split(folder, labels, target, complete=False))
        split.images[path.relative_to(folder).with_suffix("").as_posix()] = path
    for split in splits.values():
        if not split.labels.is_dir():
            raise DataError(f"data: the folder {split.labels} does not exist: YOLO data are images/ and labels/")
        yield split


def _images_part(folder: Path) -> int | None:
    parts = folder.parts
    return len(parts) - 1 - parts[::-1].index("images") if "images" in parts else None


def _labels(folder: Path) -> Path | None:
    """Return the folder of labels for a folder of images: the last ``images`` in its path is replaced by ``labels``."""
    at = _images_part(folder)
    return None if at is None else Path(*folder.parts[:at], "labels", *folder.parts[at + 1 :])
