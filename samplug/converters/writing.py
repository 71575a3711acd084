"""What commands that write a folder from annotations have in common: nothing is written if anything is wrong."""

import json
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from samplug.converters.annotations import AnnotatedImage, Annotations, Problem, read_json
from samplug.converters.checking import Drawing, Selection, check_images
from samplug.converters.encodings import bytes_from_base64
from samplug.utils.errors import DataError, check_choice
from samplug.utils.files import replace_file

Link = Literal["copy", "symlink", "none"]

_LISTED = 50


def usable_drawings(
    command: str, annotations: Annotations, selection: Selection, skip_problems: bool
) -> tuple[list[Drawing], list[Problem]]:
    """What can be drawn, and all problems; at least one image.

    Raises:
        DataError: Problems, all in one message, unless they are to be skipped; no usable image.
        ConfigError: ``selection`` names a class that is not there.
    """
    selection.check(annotations.categories)
    drawings, problems = check_images(annotations, selection)
    if problems and not skip_problems:
        raise DataError(
            f"{command}: {len(problems)} problems in {annotations.source}, nothing was written:\n{listing(problems)}\n"
            f"correct them, or leave out the images that have one with --on-error skip"
        )
    if not drawings:
        raise DataError(
            f"{command}: {annotations.source} has {len(annotations.images)} images and none that can be used, nothing was "
            f"written\n{listing(problems)}".rstrip()
        )
    return drawings, problems


def listing(problems: Sequence[Problem]) -> str:
    """Problems as lines, the first ones."""
    lines = [f"  {problem.where}: {problem.what}" for problem in problems[:_LISTED]]
    if len(problems) > _LISTED:
        lines.append(f"  and {len(problems) - _LISTED} more")
    return "\n".join(lines)


def check_sources(command: str, annotations: Annotations, drawings: Sequence[Drawing], link: Link) -> None:
    """Raise a DataError if images would be lost that lie in their json only, a ConfigError if ``link`` is unknown."""
    check_choice(command, "link", link, get_args(Link))
    embedded = [str(drawing.image.source) for drawing in drawings if drawing.image.embedded and link == "none"]
    if embedded:
        raise DataError(
            f"{command}: {len(embedded)} images are embedded in their json, the first in {embedded[0]}: --link none would "
            f"leave their annotations without an image"
        )


def check_destination(
    command: str,
    planned: Sequence[Path],
    sources: Iterable[Path],
    folder: Path,
    known: Collection[Path],
    overwrite: bool,
) -> None:
    """Look at what is in the way.

    Args:
        command: Its name, for messages.
        planned: Files to write.
        sources: Files that are read.
        folder: Where files that belong to no sample of this run would be taken for samples.
        known: The files there that do belong.
        overwrite: Replace the files of an earlier run.

    Raises:
        DataError: A file to write is a source, or exists; other files in ``folder``.
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
            f"{command}: {len(there)} of the files to write exist, the first is {there[0]}: choose another folder, or replace "
            f"them with --overwrite"
        )
    others = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if stale := sorted(set(others) - set(known)):
        raise DataError(
            f"{command}: {folder} holds {len(stale)} files that this run would not write, the first is {stale[0]}: remove them and "
            f"what belongs to them, or choose another folder"
        )


def write_image(image: AnnotatedImage, link: Link, path: Path) -> None:
    """Put an image where the result has it; nothing for ``'none'``."""
    if link != "none":
        replace_file(path, lambda partial: _put_image(image, link, partial))


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a json file, whole or not at all."""
    text = json.dumps(content, indent=indent, ensure_ascii=False) + "\n"
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def _put_image(image: AnnotatedImage, link: Link, path: Path) -> None:
    if image.embedded:
        path.write_bytes(bytes_from_base64(read_json(image.source)["imageData"]) or b"")
    elif link == "symlink":
        path.symlink_to(image.source.resolve())
    else:
        shutil.copyfile(image.source, path)
