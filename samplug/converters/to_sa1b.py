"""Convert annotations to the folder that ``SA1BDataset`` reads: a JSON file of objects beside each image.

Write images/, with a JSON file of its objects beside each image, and summary.json from annotations, label maps or masks
of single objects; nothing is written if anything is wrong.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samplug.converters.annotations import Annotations
from samplug.converters.arguments import add_annotations, print_left_out, print_problems, writing_options
from samplug.converters.checking import Drawing, Selection, in_parallel
from samplug.converters.outlines import connected_parts
from samplug.converters.reading import read_annotations
from samplug.converters.text_files import write_json
from samplug.converters.writing import (
    Link,
    check_destination,
    check_sources,
    usable_drawings,
    write_image,
)
from samplug.utils.rle import encode_rle
from samplug.utils.text import listed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_annotations(parser)
    parser.add_argument(
        "--crowd",
        choices=["foreground", "skip", "auto"],
        default="auto",
        help="crowd areas (iscrowd=1): write them as objects, or leave them out; auto: leave them out, with an "
        "error if all objects are crowd areas, as in CVAT's brush masks",
    )
    parser.add_argument("--components", action="store_true", help="each connected part becomes an object")


def execute(args: argparse.Namespace) -> None:
    selection = Selection(args.classes, crowd=args.crowd)
    annotations = read_annotations(args.src, args.format, args.images, args.mask_suffix)
    summary = to_sa1b(annotations, args.dst, selection, args.components, **writing_options(args))
    print(f"{summary['objects']} objects of {summary['images']} images in {args.dst / 'images'}")
    if bare := len(summary["images_without_objects"]):
        print(f"{bare} of the images have no objects")
    print_left_out(summary)
    if annotations.format == "label-maps":
        values = sorted(summary["categories"].items(), key=lambda item: int(item[0]))
        counts = listed((f"{value} ({number})" for value, number in values), 20)
        print(f"values and their objects: {counts}; --classes takes some of them alone (255 often means unlabelled)")
    print_problems(summary, args.dst)
    print(f"its data_root: {args.dst / 'images'}")


def to_sa1b(
    annotations: Annotations,
    destination: Path,
    selection: Selection | None = None,
    split_parts: bool = False,
    skip_problems: bool = False,
    link: Link = "copy",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write ``images/`` with a JSON file beside each image, and ``summary.json``.

    Subfolders in image names are kept. A JSON file has ``image`` (``image_id``, ``file_name``, ``width``, ``height``)
    and ``annotations``, each with ``id``, ``segmentation`` (compressed run-length encoding), ``bbox`` [x, y, width,
    height], ``area`` in pixels and ``category`` (not in SA-1B). Objects without a pixel are left out and counted. All
    annotations are checked before the first file is written.

    Args:
        annotations: See :func:`~samplug.converters.read_annotations`.
        destination: Folder to write; created if it does not exist.
        selection: Objects to write; None writes all except crowd areas, which are not single objects.
        split_parts: Write each connected component (8 neighbours) of an object as a separate object.
        skip_problems: Leave out images with a problem instead of raising an error.
        link: ``'copy'`` or ``'symlink'`` images into ``images/``, or leave them out (``'none'``).
        overwrite: Replace the files of an earlier run.

    Returns:
        The content of ``summary.json``: counts, categories, problems.

    Raises:
        DataError: The annotations have problems (all in one message), no image can be used, all objects are crowd
            areas, files would be overwritten, or a file cannot be written.
        ConfigError: ``selection`` names an unknown class.
    """
    drawings, problems, left_out = usable_drawings(
        "to-sa1b", annotations, selection or Selection(), skip_problems, crowd="skip"
    )
    check_sources("to-sa1b", annotations, drawings, link)
    folder = destination / "images"
    images = [folder / drawing.image.name for drawing in drawings]
    files = [path.with_suffix(".json") for path in images]
    check_destination(
        "to-sa1b",
        [*([] if link == "none" else images), *files, destination / "summary.json"],
        (annotations.source, *(image.source for image in annotations.images)),
        folder,
        {*images, *files},
        overwrite,
    )

    def write(numbered: tuple[int, Drawing]) -> tuple[Counter[str], int]:
        number, drawing = numbered
        entries, empty = _objects(drawing, split_parts)
        height, width = drawing.size
        path = folder / drawing.image.name
        image = {"image_id": number, "file_name": path.name, "width": width, "height": height}
        write_json(path.with_suffix(".json"), {"image": image, "annotations": entries})
        write_image(drawing.image, link, path)
        return Counter(entry["category"] for entry in entries), empty

    written = list(in_parallel(write, list(enumerate(drawings, start=1)), "writing"))
    empty = sum(without for _, without in written)
    objects = sum((categories for categories, _ in written), Counter())
    summary = {
        "source": str(annotations.source),
        "format": annotations.format,
        "images": len(drawings),
        "images_left_out": len(annotations.images) - len(drawings),
        "images_without_objects": [
            str(drawing.image.name)
            for drawing, (categories, _) in zip(drawings, written, strict=True)
            if not categories
        ],
        "objects": objects.total(),
        "objects_left_out": left_out | {"without_pixels": empty},
        "objects_without_pixels": empty,
        "categories": dict(sorted(objects.items())),
        "problems": [problem._asdict() for problem in problems],
    }
    write_json(destination / "summary.json", summary, indent=2)
    return summary


def _objects(drawing: Drawing, split_parts: bool) -> tuple[list[dict[str, Any]], int]:
    """Make the annotations of an image's JSON file, and count objects without a pixel."""
    entries: list[dict[str, Any]] = []
    empty = 0
    for region, role in drawing.regions:
        if role != "foreground":
            continue
        mask = region.shape.raster(drawing.size)
        empty += not mask.any()
        for part in _parts(mask) if split_parts else [mask] if mask.any() else []:
            rle = encode_rle(part)
            entries.append(
                {
                    "id": len(entries) + 1,
                    "segmentation": rle,
                    "bbox": [int(side) for side in coco_mask.toBbox(rle)],
                    "area": int(coco_mask.area(rle)),
                    "category": region.category,
                }
            )
    return entries, empty


def _parts(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Yield the connected parts as masks in the size of the whole."""
    for part, (x, y) in connected_parts(mask):
        whole = np.zeros_like(mask)
        whole[y : y + part.shape[0], x : x + part.shape[1]] = part
        yield whole
