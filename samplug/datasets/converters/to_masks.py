"""Annotations as the image and mask folders that ``BinarySegDataset`` reads."""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from samplug.datasets.converters.annotations import AnnotatedImage, Annotations, Problem, read_json
from samplug.datasets.converters.checking import Drawing, Role, Selection, check_images, in_parallel
from samplug.datasets.converters.encodings import bytes_from_base64
from samplug.datasets.io import DataError, replace_file

Link = Literal["copy", "symlink", "none"]

VALUES: dict[Role, int] = {"ignored": 127, "foreground": 255}

_LISTED = 50


class _Written(NamedTuple):
    """What became of one mask: regions that cover no pixel, by class, and pixels to ignore."""

    without_pixels: Counter[str]
    ignored_pixels: int


def to_masks(
    annotations: Annotations,
    destination: Path,
    selection: Selection | None = None,
    skip_problems: bool = False,
    link: Link = "copy",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write ``images/``, ``masks/`` and ``summary.json``; folders in the names of images are kept in both.

    A mask is a PNG of (H, W) uint8 in the size of its image as :func:`~samplug.datasets.io.read_image` gives it: 0 background, 255
    foreground, and 127 for pixels to ignore. Where objects overlap, foreground covers what is ignored. Everything is checked
    before the first file is written.

    Args:
        annotations: See :func:`~samplug.datasets.converters.read_annotations`.
        destination: Folder of the result, made where it is missing.
        selection: Which objects are drawn; None: all, as foreground.
        skip_problems: Leave out images that have a problem instead of stopping.
        link: How images get into ``images/``; ``'none'``: not at all.
        overwrite: Replace the files of an earlier run.

    Returns:
        The content of ``summary.json``: counts, classes, problems, and the ``mask_values`` to configure.

    Raises:
        DataError: Problems, all in one message; no usable image; files in the way; a file that cannot be written.
        ConfigError: ``selection`` names a class that is not there.
    """
    selection = selection or Selection()
    selection.check(annotations.categories)
    drawings, problems = check_images(annotations, selection)
    if problems and not skip_problems:
        raise DataError(
            f"to-masks: {len(problems)} problems in {annotations.source}, nothing was written:\n{_listing(problems)}\n"
            f"correct them, or leave out the images that have one with --on-error skip"
        )
    if not drawings:
        raise DataError(
            f"to-masks: {annotations.source} has {len(annotations.images)} images and none that can be used, nothing was "
            f"written\n{_listing(problems)}".rstrip()
        )
    _check_destination(annotations, drawings, destination, link, overwrite)
    written = list(in_parallel(lambda drawing: _write(drawing, destination, link), drawings, "writing"))
    summary = _summary(annotations, drawings, written, problems)
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    replace_file(destination / "summary.json", lambda path: path.write_text(text, encoding="utf-8"))
    return summary


def _listing(problems: Sequence[Problem]) -> str:
    lines = [f"  {problem.where}: {problem.what}" for problem in problems[:_LISTED]]
    if len(problems) > _LISTED:
        lines.append(f"  and {len(problems) - _LISTED} more")
    return "\n".join(lines)


def _check_destination(
    annotations: Annotations, drawings: Sequence[Drawing], destination: Path, link: Link, overwrite: bool
) -> None:
    masks = {destination / "masks" / drawing.image.mask_name for drawing in drawings}
    images = [] if link == "none" else [destination / "images" / drawing.image.name for drawing in drawings]
    planned = [*images, *sorted(masks), destination / "summary.json"]
    sources = {path.resolve() for path in (annotations.source, *(image.source for image in annotations.images))}
    for path in planned:
        if not path.is_symlink() and path.resolve() in sources:  # a link to a source can be replaced without harm
            raise DataError(
                f"to-masks: {path} is part of the source: choose another folder, or keep the images with --link none"
            )
    embedded = [str(drawing.image.source) for drawing in drawings if drawing.image.embedded and link == "none"]
    if embedded:
        raise DataError(
            f"to-masks: {len(embedded)} images are embedded in their json, the first in {embedded[0]}: --link none would "
            f"leave their masks without an image"
        )
    there = [path for path in planned if os.path.lexists(path)]
    if there and not overwrite:
        raise DataError(
            f"to-masks: {len(there)} of the files to write exist, the first is {there[0]}: choose another folder, or replace "
            f"them with --overwrite"
        )
    others = (path for path in (destination / "masks").rglob("*") if path.is_file() and not path.name.startswith("."))
    if stale := sorted(set(others) - masks):
        raise DataError(
            f"to-masks: {destination / 'masks'} holds {len(stale)} files that this run would not write, the first is "
            f"{stale[0]}: remove them and their images, or choose another folder"
        )


def _write(drawing: Drawing, destination: Path, link: Link) -> _Written:
    mask = np.zeros(drawing.size, np.uint8)
    without_pixels: Counter[str] = Counter()
    for region, role in drawing.regions:
        inside = region.shape.raster(drawing.size)
        # The maximum: foreground, the highest value, covers what is ignored, whichever comes first.
        np.maximum(mask, VALUES[role], out=mask, where=inside)
        without_pixels[region.category] += not inside.any()
    content = cv2.imencode(".png", mask)[1].tobytes()
    replace_file(destination / "masks" / drawing.image.mask_name, lambda path: path.write_bytes(content))
    if link != "none":
        replace_file(destination / "images" / drawing.image.name, lambda path: _put_image(drawing.image, link, path))
    return _Written(without_pixels, int(np.count_nonzero(mask == VALUES["ignored"])))


def _put_image(image: AnnotatedImage, link: Link, path: Path) -> None:
    if image.embedded:
        path.write_bytes(bytes_from_base64(read_json(image.source)["imageData"]) or b"")
    elif link == "symlink":
        path.symlink_to(image.source.resolve())
    else:
        shutil.copyfile(image.source, path)


def _summary(
    annotations: Annotations, drawings: Sequence[Drawing], written: Sequence[_Written], problems: Sequence[Problem]
) -> dict[str, Any]:
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for drawing, result in zip(drawings, written, strict=True):
        for region, role in drawing.regions:
            classes[region.category][f"{role}_regions"] += 1
        for category in {region.category for region, _ in drawing.regions}:
            classes[category]["images"] += 1
            classes[category]["regions_without_pixels"] += result.without_pixels[category]
    ignored = sum(result.ignored_pixels for result in written)
    columns = ("images", "foreground_regions", "ignored_regions", "regions_without_pixels")
    return {
        "source": str(annotations.source),
        "format": annotations.format,
        "images": len(drawings),
        "images_left_out": len(annotations.images) - len(drawings),
        "images_without_regions": [str(drawing.image.name) for drawing in drawings if not drawing.regions],
        "classes": {name: {column: classes[name][column] for column in columns} for name in sorted(classes)},
        "ignored_pixels": ignored,
        "mask_values": (
            {"foreground": [VALUES["foreground"]], "background": [0], "ignore": [VALUES["ignored"]]}
            if ignored
            else "0/255"
        ),
        "problems": [problem._asdict() for problem in problems],
    }
