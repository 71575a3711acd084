"""Choose the reader of an annotation format."""

import os
from pathlib import Path

from samplug.converters.annotations import Annotations
from samplug.converters.coco import read_coco
from samplug.converters.labelme import read_labelme
from samplug.converters.mask_files import read_ade20k, read_instance_masks, read_label_maps
from samplug.converters.yolo import read_yolo
from samplug.imaging.listing import walk
from samplug.utils.errors import ConfigError, DataError

_MASKS = {"label-maps": read_label_maps, "instance-masks": read_instance_masks, "ade20k": read_ade20k}
FORMATS = {"coco": read_coco, "labelme": read_labelme, "yolo": read_yolo, **_MASKS}
_SOURCES = {
    "coco": "a JSON file",
    "labelme": "a folder of JSON files",
    "yolo": "a folder or a yaml file",
    "label-maps": "a folder of PNG or TIFF files",
    "instance-masks": "a folder of folders of masks",
    "ade20k": "a folder of PNG files",
}


def read_annotations(
    source: Path, format: str = "auto", images: Path | None = None, mask_suffix: str | None = None
) -> Annotations:
    """Read annotations of any known format.

    Args:
        source: COCO JSON file, folder of labelme JSON files, YOLO folder or data.yaml, folder of label maps, folder of
            subfolders of masks, or folder of ADE20K's masks.
        format: A key of ``FORMATS``, or ``'auto'`` to detect the format; folders of masks are not detected.
        images: Folder of images, if the source does not name it.
        mask_suffix: Ending of the names of label maps and instance masks, see :func:`read_label_maps`.

    Raises:
        DataError: ``source`` does not exist, has no known format, or cannot be read in this format.
        ConfigError: ``format`` is unknown, or has no mask files to which ``mask_suffix`` could apply.
    """
    if not source.exists():
        raise DataError(f"data: {source} does not exist")
    if format == "auto":
        format = _format_of(source)
    if format not in FORMATS:
        raise ConfigError(f"annotations: the format {format!r} is not one of {', '.join(FORMATS)}")
    is_json = source.is_file() and source.suffix.lower() == ".json"
    fits = {"coco": is_json, "yolo": not is_json}.get(format, source.is_dir())
    if not fits:
        raise DataError(f"data: {source} is not {_SOURCES[format]}, as {format} annotations must be")
    if mask_suffix is None:
        return FORMATS[format](source, images)
    if format not in _MASKS:
        raise ConfigError(f"annotations: mask_suffix={mask_suffix!r} is for {' and '.join(_MASKS)}, not for {format}")
    return _MASKS[format](source, images, mask_suffix)


def _format_of(source: Path) -> str:
    if source.is_file():
        by_suffix = {".json": "coco", ".yaml": "yolo", ".yml": "yolo"}
        if source.suffix.lower() in by_suffix:
            return by_suffix[source.suffix.lower()]
    elif (source / "labels").is_dir() or (source / "data.yaml").is_file():
        return "yolo"
    else:
        entries = walk(source, recursive=True) if source.is_dir() else ()
        suffixes = {os.path.splitext(entry.name)[1] for entry in entries}
        for format, suffix in (("labelme", ".json"), ("yolo", ".txt")):
            if suffix in suffixes:
                return format
    raise DataError(
        f"data: {source} is neither a COCO JSON file, nor a folder of labelme JSON files, nor a YOLO folder or "
        "data.yaml; for masks, give --format label-maps or instance-masks"
    )
