"""Pair images with masks by name."""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from samplug.imaging.files import IMAGE_SUFFIXES
from samplug.imaging.listing import list_files, walk
from samplug.utils.errors import DataError
from samplug.utils.regular_files import read_bytes

_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


@dataclass(frozen=True)
class Pair:
    """An image, its mask, and the name they share."""

    name: str
    image: Path
    mask: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """Paths of image and mask."""
        return self.image, self.mask


@dataclass
class Pairs:
    """Pairs in order of their names, and problems: file or name -> problem and remedy."""

    pairs: list[Pair] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def unread_subfolders(image_dir: Path, mask_dir: Path) -> dict[str, str]:
    """Report subfolders that exist in both folders and contain images: their pairs would be missing."""
    problems = {}
    inside = [{entry.name for entry in walk(folder) if entry.is_dir()} for folder in (image_dir, mask_dir)]
    for name in sorted(set.intersection(*inside)):
        below = walk(image_dir / name, recursive=True)
        if any(os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES for entry in below):
            problems[str(image_dir / name)] = (
                f"is not searched, nor is {mask_dir / name}: set recursive=True, or move both away"
            )
    return problems


def match_files(
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    include: str = "*",
    extra_masks: bool = False,
    partner: str = "mask",
    option: str = "extra_masks",
) -> Pairs:
    """Pair files of the same name; files without a partner are problems.

    Args:
        images: Name -> file.
        masks: Name -> file.
        include: Shell pattern; other names are left out.
        extra_masks: Accept masks without an image (they belong to another split).
        partner: Word for a mask in messages.
        option: Name of the option ``extra_masks`` in messages; if empty, messages do not mention it.
    """
    result = Pairs()
    wanted = {name: path for name, path in images.items() if fnmatchcase(name, include)}
    result.pairs = [Pair(name, path, masks[name]) for name, path in sorted(wanted.items()) if name in masks]
    for name, near in _orphans({name: path for name, path in wanted.items() if name not in masks}, masks):
        result.problems[str(wanted[name])] = (
            f"has no {partner} of the same name{near}: add it, or remove or rename the image"
        )
    if not extra_masks:
        hint = f" ({option}=True if it belongs to another split)" if option else ""
        orphans = {name: path for name, path in masks.items() if name not in wanted and fnmatchcase(name, include)}
        for name, near in _orphans(orphans, images):
            result.problems[str(masks[name])] = (
                f"has no image of the same name{near}: add it, or remove or rename the {partner}{hint}"
            )
    return result


def _orphans(files: Mapping[str, Path], others: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield each name with a hint at a file among the others, or beside them, that was perhaps meant.

    Such a file has the name in capitals, with blanks, with more characters at its end, with other leading zeros, in
    another Unicode form, or with a suffix that is not read.
    """
    heads = _heads(others) if files else {}
    for name, path in sorted(files.items()):
        near = heads.get(_plain(Path(name).name))
        yield name, _hint(Path(name).name, near) if near and near != path.name else ""


def _heads(files: Mapping[str, Path]) -> dict[str, str]:
    """Return plain form -> name, for the names in the folders of files and the beginnings of these names."""
    heads: dict[str, str] = {}
    for folder in sorted({path.parent for path in files.values()}):
        for entry in walk(folder):
            plain = _plain(entry.name)
            for at in range(1, len(plain) + 1):
                if not plain[at : at + 1].isalnum():
                    heads.setdefault(plain[:at], entry.name)
    return heads


def _hint(name: str, near: str) -> str:
    """Explain why a file with a similar name does not match."""
    if not near.startswith(name) and unicodedata.normalize("NFC", near).startswith(unicodedata.normalize("NFC", name)):
        # The names look the same, so name the difference.
        one, other = ("NFC" if unicodedata.is_normalized("NFC", text) else "NFD" for text in (name, near))
        return (
            f" ({near!r} looks the same, but one name is in Unicode form {one} and one in {other}, as macOS writes it: "
            "rename one of them)"
        )
    return f" ({near!r} does not count)"


def _plain(name: str) -> str:
    plain = unicodedata.normalize("NFC", name).strip().casefold()
    return _LEADING_ZEROS.sub("", plain)


def read_list(
    path: Path, root: Path, image_dir: Path, mask_dir: Path, img_suffix: str | None, seg_map_suffix: str | None
) -> Pairs:
    """Read a text file that lists one pair a line; empty lines and lines that begin with ``#`` do not count.

    A line is ``IMAGE MASK``, two files relative to ``root``, separated by a tab, a comma or blanks (a leading slash is
    ignored); or it is one name, of an image file or of a pair without suffixes, in ``image_dir`` and ``mask_dir``.

    Raises:
        DataError: The file is missing, not UTF-8 text, or empty.
    """
    lines = read_lines(path, "pair")
    folders: dict[str, Path] = {}
    mask_files: dict[str, Path] = {}
    if any(len(_fields(line, root)) == 1 for line in lines):
        folders, problems = list_files(image_dir, img_suffix, recursive=True)
        mask_files, mask_problems = list_files(mask_dir, seg_map_suffix, recursive=True)
        ambiguous = problems | mask_problems
    else:
        ambiguous = {}
    result = Pairs()
    near_images: dict[str, str] = {}
    near_masks: dict[str, str] = {}
    seen: set[str | Path] = set()  # names and files: a pair may be listed by either
    for number, line in enumerate(lines, start=1):
        where = f"{path}, entry {number}"
        fields = _fields(line, root)
        if len(fields) == 2 and all(part.strip("/") for part in fields):
            image, mask = (root / part.lstrip("/") for part in fields)
            name = Path(fields[0].lstrip("/")).with_suffix("").as_posix()
            missing = [str(file) for file in (image, mask) if not os.path.isfile(file)]
        elif len(fields) == 1:
            name = _bare(fields[0].lstrip("/"), img_suffix)
            missing = [
                f"{name} in {folder}{_near(name, files, near)}"
                for files, folder, near in ((folders, image_dir, near_images), (mask_files, mask_dir, near_masks))
                if name not in files
            ]
            image, mask = folders.get(name, image_dir), mask_files.get(name, mask_dir)
        else:
            found = len([part for part in fields if part.strip("/")])
            result.problems[where] = f"{line!r} has {found} parts: write IMAGE<tab>MASK or one name"
            continue
        if missing:
            result.problems[where] = f"there is no file {' and no '.join(missing)}: correct the list or add the files"
        elif not seen.isdisjoint((name, image)):
            result.problems[where] = f"{name} is listed twice: remove one line"
        elif str(image) in ambiguous or str(mask) in ambiguous:
            result.problems[where] = ambiguous.get(str(image)) or ambiguous[str(mask)]
        else:
            result.pairs.append(Pair(name, image, mask))
        seen |= {name, image}
    return result


def read_lines(path: Path, item: str, setting: str = "ann_file") -> list[str]:
    """Read the stripped lines of a list file; empty lines and lines that start with ``#`` are left out.

    Args:
        path: Text file.
        item: Word for a line's item in messages.
        setting: Setting that names the file, in messages.

    Raises:
        DataError: The file does not exist, cannot be read, is empty, or is not UTF-8 text.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise DataError(
            f"data: the list {path} {reason}: set {setting} to a text file with a line for each {item}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"data: the list {path} is not UTF-8 text ({error.reason}): save it as UTF-8") from error
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"data: the list {path} is empty: it needs a line for each {item}")
    return lines


def _near(name: str, files: Mapping[str, Path], heads: dict[str, str]) -> str:
    """Return a hint at a file that was perhaps meant; ``heads`` is filled at the first call."""
    if not heads:
        heads.update(_heads(files))
    near = heads.get(_plain(Path(name).name))
    return _hint(Path(name).name, near) if near else ""


def _fields(line: str, root: Path) -> list[str]:
    """Split a line at tabs or else commas; at blanks only if it contains neither and the whole line is not a file."""
    for separator in ("\t", ","):
        if separator in line:
            return [part.strip() for part in line.split(separator)]
    return [line] if os.path.isfile(root / line.lstrip("/")) else line.split()


def _bare(name: str, suffix: str | None) -> str:
    if suffix is not None:
        return name.removesuffix(suffix)
    ending = Path(name).suffix
    return name.removesuffix(ending) if ending.lower() in IMAGE_SUFFIXES else name
