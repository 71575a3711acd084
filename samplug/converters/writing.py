"""Common parts of commands that write a folder from annotations: nothing is written if anything is wrong."""

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from samplug.converters.annotations import AnnotatedImage, Annotations, Problem
from samplug.converters.checking import CROWD, IN_BAD_IMAGES, NOT_CHOSEN, Crowd, Drawing, Selection, check_images
from samplug.utils.errors import DataError, check_choice
from samplug.utils.files import replace_file
from samplug.utils.text import listed_lines, shorten

Link = Literal["copy", "symlink", "none"]

_LISTED = 50
# Longest file name in bytes on nearly all file systems.
_LONGEST_NAME = 255


def usable_drawings(
    command: str, annotations: Annotations, selection: Selection, skip_problems: bool, crowd: Crowd = "ignore"
) -> tuple[list[Drawing], list[Problem], dict[str, int]]:
    """Check annotations before any file is written; ``crowd`` is the value for ``selection.crowd='auto'``.

    Returns:
        The images that can be drawn (at least one), all problems, and the number of left out objects by reason.

    Raises:
        DataError: The annotations have problems (all in one message) and ``skip_problems`` is False, no image can be
            used, or all objects are crowd areas and ``selection.crowd`` is ``'auto'``.
        ConfigError: ``selection`` names an unknown class.
    """
    selection.check(annotations.categories)
    if selection.crowd == "auto":
        _check_crowds(command, annotations, selection)
        selection = replace(selection, crowd=crowd)
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
    left_out = sum((selection.left_out(drawing.image.regions) for drawing in drawings), Counter())
    usable = sum(len(drawing.image.regions) for drawing in drawings)
    left_out[IN_BAD_IMAGES] = sum(len(image.regions) for image in annotations.images) - usable
    return drawings, problems, {reason: left_out[reason] for reason in (CROWD, NOT_CHOSEN, IN_BAD_IMAGES)}


def _check_crowds(command: str, annotations: Annotations, selection: Selection) -> None:
    """Raise a DataError if every object is a crowd area, as in CVAT's brush masks: the user has to decide."""
    if annotations.format != "coco":
        return
    foreground = replace(selection, crowd="foreground")
    crowds = [
        region.crowd
        for image in annotations.images
        for region in image.regions
        if foreground.role(region) == "foreground"
    ]
    if crowds and all(crowds):
        raise DataError(
            f"{command}: all {len(crowds)} objects of {annotations.source} are marked as crowd areas (iscrowd=1), as "
            "in CVAT's brush masks; nothing was written: convert them as objects with --crowd foreground, or "
            "leave them out with --crowd skip"
        )


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
    """Check that writing files neither overwrites nor mixes data.

    Args:
        command: Name of the command, for messages.
        planned: Files to write.
        sources: Files that are read.
        folder: Folder whose files will all be read as samples.
        known: Files in ``folder`` that belong to this run.
        overwrite: Allow files of an earlier run to be replaced.

    Raises:
        DataError: A file to write is a source file or exists, its name is too long, or ``folder`` contains other files.
    """
    if long := [path for path in planned if len(os.fsencode(path.name)) > _LONGEST_NAME]:
        raise DataError(
            f"{command}: {len(long)} names of files to write have more than {_LONGEST_NAME} bytes, the first is "
            f"{shorten(long[0].name)}: rename the images"
        )
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


def _put_image(image: AnnotatedImage, link: Link, path: Path) -> None:
    if image.embedded:
        path.write_bytes(image.embedded_bytes())
    elif link == "symlink":
        try:
            path.symlink_to(image.source.resolve())
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"data: links cannot be made in {path.parent} ({reason}): use --link copy") from error
    else:
        shutil.copyfile(image.source, path)
