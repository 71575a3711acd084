"""Common parts of commands that write a folder from annotations: nothing is written if anything is wrong."""

import json
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from samplug.converters.annotations import AnnotatedImage, Annotations, Problem
from samplug.converters.checking import Drawing, Selection, check_images
from samplug.imaging.encodings import bytes_from_base64
from samplug.utils.errors import DataError, check_choice
from samplug.utils.files import read_json, replace_file, write_text
from samplug.utils.text import listed_lines

Link = Literal["copy", "symlink", "none"]

_LISTED = 50


def usable_drawings(
    command: str, annotations: Annotations, selection: Selection, skip_problems: bool
) -> tuple[list[Drawing], list[Problem]]:
    """Check annotations; return at least one image that can be drawn, and all problems.

    Raises:
        DataError: The annotations have problems (one message lists all) and ``skip_problems`` is False, or no image can
            be used.
        ConfigError: ``selection`` names an unknown class.
    """
    selection.check(annotations.categories)
    drawings, problems = check_images(annotations, selection)
    if problems and not skip_problems:
        raise DataError(
            f"{command}: {len(problems)} problems in {annotations.source}, nothing was written:\n"
            f"{listed_lines(problems, _LISTED)}\n"
            "correct them, or leave out the images that have one with --on-error skip"
        )
    if not drawings:
        raise DataError(
            f"{command}: none of the {len(annotations.images)} images of {annotations.source} can be used, nothing was "
            f"written\n{listed_lines(problems, _LISTED)}".rstrip()
        )
    return drawings, problems


def check_sources(command: str, annotations: Annotations, drawings: Sequence[Drawing], link: Link) -> None:
    """Check ``link``, and that no image is lost that exists only inside a JSON file."""
    check_choice(command, "link", link, get_args(Link))
    embedded = [str(drawing.image.source) for drawing in drawings if drawing.image.embedded and link == "none"]
    if embedded:
        raise DataError(
            f"{command}: {len(embedded)} images are embedded in their JSON files, the first in {embedded[0]}: --link "
            "none would leave their annotations without an image"
        )


def check_destination(
    command: str,
    planned: Sequence[Path],
    sources: Iterable[Path],
    folder: Path,
    known: Collection[Path],
    overwrite: bool,
) -> None:
    """Check that files can be written without harm.

    Args:
        command: Name of the command, for messages.
        planned: Files to write.
        sources: Files that are read.
        folder: Folder whose files will all be taken for samples.
        known: Files in ``folder`` that belong to this run.
        overwrite: Allow files of an earlier run to be replaced.

    Raises:
        DataError: A file to write is a source or exists, or ``folder`` contains other files.
    """
    read = {path.resolve() for path in sources}
    for path in planned:
        if not path.is_symlink() and path.resolve() in read:  # a link to a source can be replaced without harm
            raise DataError(
                f"{command}: {path} is part of the source: choose another folder, or keep the images with --link none"
            )
    there = [path for path in planned if os.path.lexists(path)]
    if there and not overwrite:
        raise DataError(
            f"{command}: {len(there)} of the files to write exist, the first is {there[0]}: choose another folder, or "
            "replace them with --overwrite"
        )
    others = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if stale := sorted(set(others) - set(known)):
        raise DataError(
            f"{command}: {folder} contains {len(stale)} files that this run would not write, the first is {stale[0]}: "
            "remove them and what belongs to them, or choose another folder"
        )


def write_image(image: AnnotatedImage, link: Link, path: Path) -> None:
    """Copy or link an image to ``path``; do nothing if ``link`` is ``'none'``."""
    if link != "none":
        replace_file(path, lambda partial: _put_image(image, link, partial))


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def _put_image(image: AnnotatedImage, link: Link, path: Path) -> None:
    if image.embedded:
        path.write_bytes(bytes_from_base64(read_json(image.source)["imageData"]) or b"")
    elif link == "symlink":
        path.symlink_to(image.source.resolve())
    else:
        shutil.copyfile(image.source, path)
