"""List the image files of folders, with the same rules for datasets, predictions, scores and converters.

Files of the operating system are skipped: names that start with a dot (``._a.png``, ``.ipynb_checkpoints``) and the
names in :data:`_OF_SYSTEMS`. Links to folders are followed. Images of unsupported formats are counted and named in the
log.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from mmengine.logging import print_log

from samplug.imaging.files import IMAGE_SUFFIXES
from samplug.utils.errors import DataError
from samplug.utils.text import listed, one_line

_OF_SYSTEMS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "Thumbs.db"})
_UNREAD_PICTURES = frozenset(
    {
        ".arw", ".avif", ".cr2", ".cr3", ".czi", ".dcm", ".dib", ".dng", ".exr", ".hdr", ".heic", ".heif",
        ".ico", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl", ".mpo", ".nd2", ".ndpi", ".nef", ".nii", ".npy", ".npz",
        ".orf", ".pbm", ".pcx", ".pfm", ".pgm", ".pnm", ".ppm", ".psd", ".ras", ".rw2", ".svg", ".svs", ".tga",
        ".xcf",
    }
)  # fmt: skip
# Links can multiply paths: thirty folders with two links each to the next folder have a billion paths.
_MOST_WAYS = 16
_COLLECTED: ContextVar[list[str] | None] = ContextVar("notes", default=None)


def is_passed_over(name: str) -> bool:
    """Return True for names of files and folders that systems and programs create."""
    return name.startswith(".") or name in _OF_SYSTEMS


def list_files(
    folder: Path, suffix: str | None = None, recursive: bool = False, keep_suffix: bool = False
) -> tuple[dict[str, Path], dict[str, str]]:
    """List the image files of a folder; without ``suffix``, pictures of other formats are named in the log.

    Args:
        folder: Folder to list.
        suffix: Ending of the file names that is not part of the name (``'.jpg'``, ``'_mask.png'``); None accepts any
            image suffix, and images of unsupported formats are then named in the log.
        recursive: Also list subfolders, including links to folders; their names are then part of the name.
        keep_suffix: Names keep the suffix, so that ``a.jpg`` and ``a.png`` are two.

    Returns:
        Name -> file, and problems (path -> problem and remedy): files that share a name, and folders with the name of
        an image.

    Raises:
        DataError: The folder does not exist or cannot be read, or links lead to one folder too many times.
    """
    files: dict[str, Path] = {}
    problems: dict[str, str] = {}
    unread: list[str] = []
    start = len(os.path.join(folder, ""))
    for entry in walk(folder, recursive):
        if suffix is None:
            ending = f".{entry.name.rpartition('.')[2]}"
            if ending.lower() not in IMAGE_SUFFIXES:
                if ending.lower() in _UNREAD_PICTURES:
                    unread.append(entry.path[start:])
                continue
        else:
            ending = suffix
            if not entry.name.endswith(ending) or entry.name == ending:
                continue
        path = Path(entry.path)
        if entry.is_dir():
            problems[str(path)] = "is a folder with the name of an image: rename or remove it"
            continue
        name = entry.path[start:].replace(os.sep, "/")
        name = name if keep_suffix else name.removesuffix(ending)
        first = files.setdefault(name, path)
        if first is not path:
            for one, other in ((first, path), (path, first)):
                problems[str(one)] = (
                    f"has the same name as {other.name}: pairs would be ambiguous, rename or remove one"
                )
    if unread:
        _note(
            f"data: {len(unread)} pictures in {folder} are left out ({listed(unread, 5)}): samplug reads "
            f"{' '.join(sorted(IMAGE_SUFFIXES))}; convert them to PNG if they belong to the data"
        )
    return files, problems


def walk(folder: Path, recursive: bool = False) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder in the order of their names, without skipped files.

    Args:
        folder: Folder to list.
        recursive: Also yield the entries of subfolders, after their folder. Links to folders are followed; a link to a
            folder that contains it is not followed, and is named in the log.

    Raises:
        DataError: A folder does not exist or cannot be read, or links lead to one folder too many times.
    """
    check_folder(folder)
    ways: Counter[tuple[int, int]] = Counter()
    waiting: list[tuple[os.DirEntry[str], tuple[tuple[int, int], ...]]]
    top = (_identity(folder),)
    waiting = [(entry, top) for entry in _entries(folder)]
    while waiting:
        entry, above = waiting.pop()
        yield entry
        if not recursive or not entry.is_dir():
            continue
        identity = _identity(entry.path)
        if identity in above:
            _note(f"data: {entry.path} is a link to a folder above it and is not followed")
            continue
        ways[identity] += 1
        if ways[identity] > _MOST_WAYS:
            raise DataError(
                f"data: links in {folder} lead to one folder in more than {_MOST_WAYS} ways, last {entry.path}: "
                "remove unneeded links"
            )
        inside = (*above, identity)
        waiting += [(inner, inside) for inner in _entries(entry.path)]


def _entries(folder: str | Path) -> Sequence[os.DirEntry[str]]:
    """Return the entries of a folder in reverse order of their names."""
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not is_passed_over(entry.name)]
    except OSError as error:
        raise DataError(
            f"data: the folder {folder} cannot be listed: {error.strerror}: check the folder and its permissions"
        ) from error
    return sorted(kept, key=lambda entry: entry.name, reverse=True)


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """Collect notes about left out files in the block instead of logging them."""
    notes: list[str] = []
    token = _COLLECTED.set(notes)
    try:
        yield notes
    finally:
        _COLLECTED.reset(token)


def _note(text: str) -> None:
    text = one_line(text)
    notes = _COLLECTED.get()
    if notes is None:
        _log_once(text)
    elif text not in notes:
        notes.append(text)


@cache
def _log_once(text: str) -> None:
    """Log a text only once, since the parts of a dataset list the same folder."""
    print_log(text, "current", logging.WARNING)


def check_folder(folder: Path) -> None:
    """Raise a DataError if the folder does not exist; it lists the folders that do."""
    if not folder.is_dir():
        raise DataError(f"data: the folder {folder} does not exist{_similar(folder)}: correct its path")


def _similar(folder: Path) -> str:
    """List the folders in the nearest existing parent: most often a folder is misspelt or one level deeper."""
    for parent in folder.parents:
        if parent.is_dir():
            inside = [entry.name for entry in walk(parent) if entry.is_dir()]
            return f"; {parent} contains {listed(inside, 8) or 'no folders'}"
    return ""
