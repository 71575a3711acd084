"""What every reader of an annotation format hands out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from samplug.converters.shapes import RegionShape
from samplug.utils.errors import DataError


class Problem(NamedTuple):
    """Something that cannot be converted: where, and what was found there."""

    where: str
    what: str


@dataclass(frozen=True)
class Region:
    """One annotated object.

    Attributes:
        label: Name for errors: which annotation of the image this is.
        category: Name of the class.
        shape: The pixels that it covers.
        crowd: The annotator marked an area whose pixels are not all of the class.
    """

    label: str
    category: str
    shape: RegionShape
    crowd: bool = False


@dataclass
class AnnotatedImage:
    """An image and what is annotated on it.

    Attributes:
        source: The image file, or the json that holds the image (``embedded``).
        name: Path below ``images/`` of the result.
        stated_size: Height and width that the annotation states, None if it states none.
        regions: All objects, in the order of the file.
        problems: Why the image cannot be used, as far as reading its annotations shows.
    """

    source: Path
    name: PurePosixPath
    embedded: bool = False
    stated_size: tuple[Any, Any] | None = None
    regions: list[Region] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def mask_name(self) -> PurePosixPath:
        """Path of its mask below ``masks/``."""
        return self.name.with_suffix(".png")


@dataclass(frozen=True)
class Annotations:
    """A whole source.

    Attributes:
        source: What the user named.
        format: A key of ``FORMATS``.
        categories: Names of all classes.
        images: All images.
        problems: Findings that belong to no image.
    """

    source: Path
    format: str
    categories: frozenset[str]
    images: Sequence[AnnotatedImage]
    problems: Sequence[Problem]


def read_json(path: Path) -> Any:
    """The content of a json file.

    Raises:
        DataError: It cannot be read, or is no json.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"data: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # also bytes that are no text
        start = path.read_bytes()[:40]
        raise DataError(
            f"data: {path} is no json: {error}; it starts with {start!r}: download or export it again"
        ) from error


def relative_path(text: str) -> PurePosixPath | None:
    """A path in an annotation file, also one written on Windows; None if it could lead out of the folder it is relative to."""
    path = PurePosixPath(text.replace("\\", "/"))
    leads_out = path.is_absolute() or ".." in path.parts or text[1:2] == ":"  # C:\\...
    return None if leads_out or not path.name else path
