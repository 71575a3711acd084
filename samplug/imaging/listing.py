"""List the image files of folders."""

import os
from collections.abc import Iterator
from pathlib import Path

from samplug.imaging.files import IMAGE_SUFFIXES
from samplug.utils.errors import DataError
from samplug.utils.text import listed


def list_files(
    folder: Path, suffix: str | None = None, recursive: bool = False
) -> tuple[dict[str, Path], dict[str, str]]:
    """List the image files of a folder.

    Args:
        folder: Folder to list.
        suffix: Ending of the file names that is not part of the name (``'.jpg'``, ``'_mask.png'``); None accepts any
            image suffix.
        recursive: List subfolders too; their names are then part of the name.

    Returns:
        Name -> file, and problems (path -> problem and remedy): files that share a name, and folders with the name of
        an image.

    Raises:
        DataError: The folder does not exist or cannot be read.
    """
    check_folder(folder)
    files: dict[str, Path] = {}
    problems: dict[str, str] = {}
    try:
        found = list(_entries(folder, recursive))
    except OSError as error:
        raise DataError(f"data: the folder {folder} cannot be listed: {error.strerror}; fix that first") from error
    start = len(os.path.join(folder, ""))
    for entry in found:
        ending = os.path.splitext(entry.name)[1] if suffix is None else suffix
        if entry.name.startswith(".") or not entry.name.endswith(ending) or entry.name == ending:
            continue
        if suffix is None and ending.lower() not in IMAGE_SUFFIXES:
            continue
        path = Path(entry.path)
        if entry.is_dir():
            problems[str(path)] = "is a folder with the name of an image: rename or remove it"
            continue
        name = entry.path[start:].replace(os.sep, "/").removesuffix(ending)
        first = files.setdefault(name, path)
        if first is not path:
            for one, other in ((first, path), (path, first)):
                problems[str(one)] = (
                    f"has the same name as {other.name}: pairs would be ambiguous, rename or remove one"
                )
    return files, problems


def _entries(folder: str | Path, recursive: bool) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder in order of their names; links to folders are not followed."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        yield entry
        if recursive and entry.is_dir(follow_symlinks=False):
            yield from _entries(entry.path, recursive)


def check_folder(folder: Path) -> None:
    """Raise a DataError if the folder does not exist; it lists the folders that do."""
    if not folder.is_dir():
        raise DataError(f"data: the folder {folder} does not exist{_similar(folder)}: correct its path")


def _similar(folder: Path) -> str:
    """List the folders in the nearest existing parent: most often a folder is misspelt or one level deeper."""
    for parent in folder.parents:
        if parent.is_dir():
            inside = sorted(item.name for item in parent.iterdir() if item.is_dir() and not item.name.startswith("."))
            return f"; {parent} contains {listed(inside, 8) or 'no folders'}"
    return ""
