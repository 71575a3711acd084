"""Convert annotations to one map of objects an image, ``unified_NAME.png``, as TextureSAM names them for ADE20K."""

from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.converters.annotations import Annotations
from samplug.converters.checking import Drawing, Selection, in_parallel
from samplug.converters.text_files import write_json
from samplug.converters.writing import check_destination, usable_drawings
from samplug.utils.errors import DataError
from samplug.utils.files import write_bytes

_SUMMARY = "summary.json"
_MOST = 65_535  # of 16 bits


def to_unified(
    annotations: Annotations, destination: Path, skip_problems: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Write ``unified_NAME.png`` for each image, and ``summary.json``.

    Objects are numbered from 1 in the order in which they are painted: the largest first, smaller ones on top, those of
    one area in their order. 0 is no object. A map has 8 bits, or 16 if an image has more than 255 objects. Crowd areas
    are left out, as in :func:`to_sa1b`.

    Args:
        annotations: See :func:`~samplug.converters.read_annotations`.
        destination: Folder to write; made if it is missing.
        skip_problems: Leave out images with a problem instead of raising an error.
        overwrite: Replace the files of an earlier run.

    Returns:
        The content of ``summary.json``: counts, ``objects_covered`` without a visible pixel, ``images_of_16_bits``,
        problems.

    Raises:
        DataError: The annotations have problems (one message lists all), no image can be used, an image has more than
            65,535 objects, files would be overwritten, or a file cannot be written.
    """
    drawings, problems, _ = usable_drawings("to-unified", annotations, Selection(), skip_problems, crowd="skip")
    for drawing in drawings:
        if (number := len(drawing.regions)) > _MOST:
            raise DataError(f"to-unified: {drawing.image.source} has {number} objects, a map {_MOST}: leave it out")
    files = [destination / _unified_name(drawing.image.mask_name) for drawing in drawings]
    planned = [*files, destination / _SUMMARY]
    read = (annotations.source, *(image.source for image in annotations.images))
    check_destination("to-unified", planned, read, destination, planned, overwrite)

    def write(task: tuple[Drawing, Path]) -> tuple[int, int]:
        drawing, path = task
        masks = [region.shape.raster(drawing.size) for region, role in drawing.regions if role == "foreground"]
        labels, objects = unify([mask for mask in masks if mask.any()], drawing.size)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, cv2.imencode(".png", labels)[1].tobytes())
        return objects, objects - np.count_nonzero(np.unique(labels))

    written = list(in_parallel(write, list(zip(drawings, files, strict=True)), "writing"))
    summary = {
        "source": str(annotations.source),
        "format": annotations.format,
        "images": len(drawings),
        "images_left_out": len(annotations.images) - len(drawings),
        "objects": sum(objects for objects, _ in written),
        "objects_covered": sum(covered for _, covered in written),
        "images_of_16_bits": [
            str(drawing.image.name) for drawing, (objects, _) in zip(drawings, written, strict=True) if objects > 255
        ],
        "problems": [problem._asdict() for problem in problems],
    }
    write_json(destination / _SUMMARY, summary, indent=2)
    return summary


def unify(masks: list[NDArray[np.bool_]], size: tuple[int, int]) -> tuple[NDArray[Any], int]:
    """Paint masks on one map, the largest first.

    Args:
        masks: Masks of objects, (H, W) each.
        size: (H, W).

    Returns:
        (H, W) uint8, or uint16 for more than 255 masks: 0, or the number of the object from 1 in the order of painting;
        and the number of objects.
    """
    labels = np.zeros(size, np.uint8 if len(masks) <= 255 else np.uint16)
    for number, mask in enumerate(sorted(masks, key=lambda mask: -int(mask.sum())), start=1):
        labels[mask] = number
    return labels, len(masks)


def _unified_name(name: PurePosixPath) -> PurePosixPath:
    return name.with_name(f"unified_{name.name}")
