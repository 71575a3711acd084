"""Convert annotations to the image and mask folders that ``BinarySegDataset`` reads.

Write images/, masks/ and summary.json from COCO, labelme or YOLO annotations; nothing is written if anything is wrong.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from samplug.converters.annotations import Annotations, Problem
from samplug.converters.arguments import add_annotations, print_left_out, print_problems, writing_options
from samplug.converters.checking import Drawing, Role, Selection, in_parallel
from samplug.converters.reading import read_annotations
from samplug.converters.text_files import write_json
from samplug.converters.writing import (
    Link,
    check_destination,
    check_sources,
    usable_drawings,
    write_image,
)
from samplug.utils.files import replace_file

VALUES: dict[Role, int] = {"ignored": 127, "foreground": 255}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_annotations(parser)
    parser.add_argument(
        "--ignore-classes", nargs="+", default=[], metavar="NAME", help="classes whose pixels are ignored"
    )
    parser.add_argument(
        "--crowd",
        choices=["ignore", "foreground", "skip", "auto"],
        default="auto",
        help="crowd areas (iscrowd=1): ignore their pixels, draw them as objects, or leave them out; auto: ignore, "
        "with an error if all objects are crowd areas, as in CVAT's brush masks",
    )


def execute(args: argparse.Namespace) -> None:
    selection = Selection(args.classes, args.ignore_classes, args.crowd)
    annotations = read_annotations(args.src, args.format, args.images, args.mask_suffix)
    summary = to_masks(annotations, args.dst, selection, **writing_options(args))
    print(f"{summary['images']} masks in {args.dst / 'masks'}")
    if empty := len(summary["images_without_regions"]):
        print(f"{empty} of them are empty: nothing of the classes is annotated there")
    print_left_out(summary)
    print_problems(summary, args.dst)
    if summary["ignored_pixels"]:
        values = ", ".join(f"{name}={value}" for name, value in summary["mask_values"].items())
        print(
            f"{summary['ignored_pixels']:,} pixels are to be ignored: set mask_values=dict({values}) in the config, "
            "or for each of its datasets"
        )


class _Written(NamedTuple):
    """Facts about a written mask: number of regions without a pixel, by class, and number of ignored pixels."""

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
    """Write ``images/``, ``masks/`` and ``summary.json``; subfolders in image names are kept in both folders.

    A mask is a PNG file, (H, W) uint8, with the size of its image after :func:`~samplug.imaging.files.read_image`:
    0 background, 255 foreground, 127 ignored. Where regions overlap, foreground covers ignored pixels. All annotations
    are checked before the first file is written.

    Args:
        annotations: See :func:`~samplug.converters.read_annotations`.
        destination: Folder to write; created if it does not exist.
        selection: Objects to draw; None draws all objects as foreground.
        skip_problems: Leave out images with a problem instead of raising an error.
        link: ``'copy'`` or ``'symlink'`` images into ``images/``, or leave them out (``'none'``).
        overwrite: Replace the files of an earlier run.

    Returns:
        The content of ``summary.json``: counts, classes, problems, and the ``mask_values`` to configure.

    Raises:
        DataError: The annotations have problems (all in one message), no image can be used, all objects are crowd
            areas, files would be overwritten, or a file cannot be written.
        ConfigError: ``selection`` names an unknown class.
    """
    drawings, problems, left_out = usable_drawings("to-masks", annotations, selection or Selection(), skip_problems)
    check_sources("to-masks", annotations, drawings, link)
    masks = sorted({destination / "masks" / drawing.image.mask_name for drawing in drawings})
    images = [] if link == "none" else [destination / "images" / drawing.image.name for drawing in drawings]
    check_destination(
        "to-masks",
        [*images, *masks, destination / "summary.json"],
        (annotations.source, *(image.source for image in annotations.images)),
        destination / "masks",
        masks,
        overwrite,
    )
    written = list(in_parallel(lambda drawing: _write(drawing, destination, link), drawings, "writing"))
    summary = _summary(annotations, drawings, written, problems, left_out)
    write_json(destination / "summary.json", summary, indent=2)
    return summary


def _write(drawing: Drawing, destination: Path, link: Link) -> _Written:
    mask = np.zeros(drawing.size, np.uint8)
    without_pixels: Counter[str] = Counter()
    for region, role in drawing.regions:
        inside = region.shape.raster(drawing.size)
        # Foreground has the higher value, so the maximum lets it cover ignored pixels in any order.
        np.maximum(mask, VALUES[role], out=mask, where=inside)
        without_pixels[region.category] += not inside.any()
    content = cv2.imencode(".png", mask)[1].tobytes()
    replace_file(destination / "masks" / drawing.image.mask_name, lambda path: path.write_bytes(content))
    write_image(drawing.image, link, destination / "images" / drawing.image.name)
    return _Written(without_pixels, int(np.count_nonzero(mask == VALUES["ignored"])))


def _summary(
    annotations: Annotations,
    drawings: Sequence[Drawing],
    written: Sequence[_Written],
    problems: Sequence[Problem],
    left_out: dict[str, int],
) -> dict[str, Any]:
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for drawing, result in zip(drawings, written, strict=True):
        for region, role in drawing.regions:
            classes[region.category][f"{role}_regions"] += 1
        for category in {region.category for region, _ in drawing.regions}:
            classes[category]["images"] += 1
            classes[category]["regions_without_pixels"] += result.without_pixels[category]
    ignored = sum(result.ignored_pixels for result in written)
    empty = sum(result.without_pixels.total() for result in written)
    columns = ("images", "foreground_regions", "ignored_regions", "regions_without_pixels")
    return {
        "source": str(annotations.source),
        "format": annotations.format,
        "images": len(drawings),
        "images_left_out": len(annotations.images) - len(drawings),
        "images_without_regions": [str(drawing.image.name) for drawing in drawings if not drawing.regions],
        "classes": {name: {column: classes[name][column] for column in columns} for name in sorted(classes)},
        "objects": sum(len(drawing.regions) for drawing in drawings) - empty,
        "objects_left_out": left_out | {"without_pixels": empty},
        "ignored_pixels": ignored,
        "mask_values": (
            {"foreground": [VALUES["foreground"]], "background": [0], "ignore": [VALUES["ignored"]]}
            if ignored
            else "0/255"
        ),
        "problems": [problem._asdict() for problem in problems],
    }
