"""Annotations in memory, as every reader of an annotation format returns them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from samplug.imaging.shapes import RegionShape


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
    stated_size: tuple[Any, Any] | None = None
    regions: list[Region] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def mask_name(self) -> PurePosixPath:
        """Path of the mask below ``masks/``."""
        return self.name.with_suffix(".png")


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
    return None if leads_out or not path.name else path
