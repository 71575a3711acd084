"""Annotations in memory, as every reader of an annotation format returns them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeGuard

from samplug.imaging.encodings import bytes_from_base64
from samplug.imaging.shapes import RegionShape, Size
from samplug.utils.errors import DataError
from samplug.utils.files import read_json
from samplug.utils.text import shorten

_FLAGS = {"0": False, "0.0": False, "false": False, "": False, "1": True, "1.0": True, "true": True}
# Largest number of trailing path parts that are compared with local folders.
_COMPARED = 8


class Problem(NamedTuple):
    """Something that cannot be converted: its place, and a description that follows the place in messages."""

    where: str
    what: str


@dataclass(frozen=True)
class Region:
    """One annotated object.

    Attributes:
        label: Name of the annotation in messages.
        category: Name of the class.
        shape: Shape that the annotator drew.
        crowd: True for a crowd area, in which not all pixels belong to the class.
    """

    label: str
    category: str
    shape: RegionShape
    crowd: bool = False


@dataclass
class AnnotatedImage:
    """An image and its annotated objects.

    Attributes:
        source: The image file, or the JSON file that contains the image.
        name: Path of the image below ``images/`` of the result.
        embedded: True if ``source`` is a JSON file that contains the image.
        stated_size: (height, width) according to the annotation; None if it gives no size.
        regions: All objects, in the order of the file.
        problems: Reasons why the image cannot be used, as far as its annotations show them.
    """

    source: Path
    name: PurePosixPath
    embedded: bool = False
    stated_size: Size | None = None
    regions: list[Region] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def mask_name(self) -> PurePosixPath:
        """Path of the mask below ``masks/``."""
        return self.name.with_suffix(".png")

    def embedded_bytes(self) -> bytes:
        """Return the image file that is embedded in the JSON file.

        Raises:
            DataError: The JSON file cannot be read again, or its image is not base64 text.
        """
        content = bytes_from_base64(read_json(self.source).get("imageData"))
        if not content:
            raise DataError(f"data: {self.source} embeds imageData that is not base64 text")
        return content


@dataclass(frozen=True)
class Annotations:
    """All annotations of a source.

    Attributes:
        source: File or folder that the user named.
        format: A key of ``FORMATS``.
        categories: Names of all classes.
        images: All images.
        problems: Problems that belong to no image.
    """

    source: Path
    format: str
    categories: frozenset[str]
    images: Sequence[AnnotatedImage]
    problems: Sequence[Problem]


def relative_path(text: str) -> PurePosixPath | None:
    """Parse a path of an annotation file, also one from Windows; None if it could lead out of its folder."""
    path = PurePosixPath(text.replace("\\", "/"))
    leads_out = path.is_absolute() or ".." in path.parts or text[1:2] == ":"  # C:\\...
    return None if leads_out or not path.name or not _is_file_name(text) else path


def found_path(text: str, folder: Path) -> PurePosixPath | None:
    """Find the file of a path from an annotation file below ``folder``.

    For paths of another computer (absolute, ``..\\..\\`` of Windows, a URL), the longest trailing part that is a file
    below the folder is used. Nothing outside the folder is accessed.

    Returns:
        The path relative to ``folder``, even if a relative ``text`` names a missing file; None if there is none.
    """
    path = relative_path(text)
    parts = PurePosixPath(text.replace("\\", "/")).parts
    if path is not None and "://" not in text:
        return path
    foreign = text[1:2] == ":" or text.startswith(("/", "\\")) or "..\\" in text or "://" in text
    if not foreign or not _is_file_name(text):
        return None
    inside = [part for part in parts[-_COMPARED:] if part != ".." and not part.startswith("/") and ":" not in part]
    ends = (PurePosixPath(*inside[start:]) for start in range(len(inside)))
    return next((end for end in ends if os.path.isfile(folder / end)), None)


def is_text_name(value: Any) -> TypeGuard[str]:
    """Return True for a name that UTF-8 text can hold: not empty, without NUL and lone surrogates."""
    try:
        return isinstance(value, str) and "\0" not in value and bool(value.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def stated_size(height: Any, width: Any) -> Size | None:
    """Parse the size of an image in an annotation file; numbers may be strings.

    Returns:
        (height, width); None if height or width is missing, null or empty.

    Raises:
        ValueError: Height or width is not a whole number above 0; the message follows the name of the image.
    """
    sides = [_side(value, name) for value, name in ((height, "height"), (width, "width"))]
    return None if None in sides else (sides[0], sides[1])  # type: ignore[return-value]


def stated_flag(value: Any) -> bool:
    """Parse a flag: 0 or 1 as number or string, true or false; null is False.

    Raises:
        ValueError: The value is something else.
    """
    known = isinstance(value, bool | int | float | str)
    flag = False if value is None else _FLAGS.get(str(value).strip().lower()) if known else None
    if flag is None:
        raise ValueError(f"{shorten(value)}, neither 0 nor 1")
    return flag


def _side(value: Any, name: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        number = 0.0
    if number < 1 or not number.is_integer():
        raise ValueError(f"has the {name} {shorten(value)} in its annotation: write pixels, or leave it out")
    return int(number)


def _is_file_name(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
