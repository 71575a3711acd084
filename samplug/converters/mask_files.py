"""Read masks as annotations: a label map, a folder of masks or numbered masks for each image."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samplug.converters.annotations import AnnotatedImage, Annotations, Problem, Region
from samplug.converters.checking import in_parallel
from samplug.datasets.mask_values import MaskSpec, MaskValues, decide_mask_values
from samplug.datasets.pairing import match_files
from samplug.imaging.files import read_mask
from samplug.imaging.listing import check_folder, list_files
from samplug.imaging.shapes import RunLengths
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.rle import RLE, encode_rle, from_labels

# Suffixes to try; the first with files is used.
_SUFFIXES = (".png", ".tif", ".tiff")
# Endings that programs append to the name of the image; the first two are Cellpose's.
_ENDINGS = ("_cp_masks", "_masks", "_mask", "_labels", "_label")
_OBJECT = "object"
# ADE20K's names: one object of an image, and the prefix of maps of all its objects.
_INSTANCE_NAME = re.compile(r"instance_\d+_(.+)", re.DOTALL)
_UNIFIED = "unified_"
_SAMPLED = 64


def read_label_maps(source: Path, images: Path | None = None, suffix: str | None = None) -> Annotations:
    """Read a folder of label maps: each grey value or palette index except 0 is a class with one object.

    Args:
        source: Folder of label maps, which may also contain the images; subfolders are part of the names.
        images: Folder of images with the same names.
        suffix: Ending of the file names that is removed before pairing, such as ``'_cp_masks.png'``. None: ``.png``,
            or ``.tif`` without PNG files; if no image has the remaining name, ``_cp_masks``, ``_masks``, ``_mask``,
            ``_labels`` or ``_label`` is removed too.

    Raises:
        DataError: A folder is missing.
        ConfigError: ``images`` is None.
    """
    return _read_maps(source, images, suffix, "label-maps", _label_map, _ENDINGS)


def read_instance_masks(source: Path, images: Path | None = None, suffix: str | None = None) -> Annotations:
    """Read a folder that contains a subfolder for each image, with one mask for each object.

    A sample of the masks decides between 0/1 and 0/255, as in ``BinarySegDataset``.

    Args:
        source: Folder of subfolders; ``source/a/*.png`` belongs to the image ``a.jpg``.
        images: Folder of images.
        suffix: Ending of the file names of masks. None: ``.png``, or ``.tif`` without PNG files.

    Raises:
        DataError: A folder is missing, or the masks are of mixed kinds.
        ConfigError: ``images`` is None.
    """
    folder = _require(images, "instance-masks")
    check_folder(source)
    files, problems = _list_masks(source, suffix)
    masks: dict[str, list[Path]] = {}
    for path in files.values():
        masks.setdefault(path.parent.relative_to(source).as_posix(), []).append(path)
    if not masks:
        raise DataError(f"data: {source} contains no folders of {suffix or '.png or .tif'} masks")
    return _read_groups(source, folder, "instance-masks", masks, {name: source / name for name in masks}, problems)


def read_ade20k(source: Path, images: Path | None = None, suffix: str | None = None) -> Annotations:
    """Read objects of ADE20K: a mask ``instance_000_NAME.png`` for each, or a map of all of an image.

    In a map each grey value except 0 and each colour except black is an object: ``unified_NAME.png``, the maps of the
    instance challenge, ``NAME_seg.png`` of the full set. In ``ADEChallengeData2016/annotations`` it is a class.

    Args:
        source: Folder of masks or maps; names of subfolders are part of the name.
        images: Folder of images.
        suffix: End of the file names that is not part of the name, see :func:`read_label_maps`.

    Raises:
        DataError: A folder is missing, or the masks are of mixed kinds.
        ConfigError: ``images`` is None.
    """
    folder = _require(images, "ade20k")
    files, problems = _list_masks(source, suffix)
    masks: dict[str, list[Path]] = {}
    for name, path in files.items():
        parent, slash, last = name.rpartition("/")
        if match := _INSTANCE_NAME.fullmatch(last):
            masks.setdefault(f"{parent}{slash}{match[1]}", []).append(path)
    if not masks:
        return _read_maps(source, images, suffix, "ade20k", _colour_map, ("_seg", *_ENDINGS))
    return _read_groups(source, folder, "ade20k", masks, {name: paths[0] for name, paths in masks.items()}, problems)


def _read_maps(
    source: Path,
    images: Path | None,
    suffix: str | None,
    format: str,
    read: Callable[[Path], dict[str, RLE] | str],
    endings: Sequence[str],
) -> Annotations:
    """Read a map of objects for each image; ``endings`` may follow the name if no map has the name of an image."""
    folder = _require(images, format)
    files, problems = _list_masks(source, suffix)
    files = {_without_prefix(name): path for name, path in files.items()} if format == "ade20k" else files
    pictures, more = list_files(folder, recursive=True)
    if suffix is None:
        files = _without_ending(files, pictures, endings)
    maps = set(files.values())
    pictures = {name: path for name, path in pictures.items() if path not in maps}
    found = match_files(pictures, files, partner="label map", option="")
    entries = [
        AnnotatedImage(pair.image, PurePosixPath(pair.image.relative_to(folder).as_posix())) for pair in found.pairs
    ]
    for entry, pair, outcome in zip(
        entries, found.pairs, in_parallel(read, [pair.mask for pair in found.pairs], "reading"), strict=True
    ):
        _add(entry, pair.mask, outcome)
    hint = "; --mask-suffix names another ending, such as _cp_masks.png"
    missing = {path: what + hint * what.startswith("has no") for path, what in found.problems.items()}
    return _annotations(source, format, entries, missing | problems | more)


def _read_groups(
    source: Path,
    images: Path,
    format: str,
    masks: Mapping[str, Sequence[Path]],
    places: Mapping[str, Path],
    problems: dict[str, str],
) -> Annotations:
    """Read several masks for each image: name of the image -> masks, and the place that messages name."""
    pictures, more = list_files(images, recursive=True)
    found = match_files(pictures, places, partner="folder of masks" if format != "ade20k" else "instance", option="")
    everything = [path for paths in masks.values() for path in paths]
    spec = decide_mask_values(everything[:: max(1, len(everything) // _SAMPLED)])
    entries: list[AnnotatedImage] = []
    for pair in found.pairs:
        entry = AnnotatedImage(pair.image, PurePosixPath(pair.image.relative_to(images).as_posix()))
        for path, outcome in zip(masks[pair.name], _read_masks(masks[pair.name], spec), strict=True):
            _add(entry, path, outcome)
        entries.append(entry)
    return _annotations(source, format, entries, found.problems | more | problems)


def _without_prefix(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.removeprefix(_UNIFIED)}"


def _list_masks(source: Path, suffix: str | None) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the masks (name -> file) and the problems (path -> problem)."""
    for ending in [suffix] if suffix else _SUFFIXES:
        files, problems = list_files(source, ending, recursive=True)
        if files or problems:
            break
    return files, problems


def _without_ending(files: dict[str, Path], pictures: Mapping[str, Path], endings: Sequence[str]) -> dict[str, Path]:
    """Remove the ending that lets most maps match an image; keep the names if they match unchanged."""
    if any(name in pictures and pictures[name] != path for name, path in files.items()):
        return files
    fitting = {ending: sum(f"{name}{ending}" in files for name in pictures) for ending in endings}
    best = max(fitting, key=fitting.__getitem__)
    if not fitting[best]:
        return files
    images = set(pictures.values())
    return {
        name.removesuffix(best): path
        for name, path in files.items()
        if name.endswith(best) or path not in images  # the folder of maps may contain other files
    }


def _label_map(path: Path) -> dict[str, RLE] | str:
    """Read the objects of a label map by class, or return the reason why it cannot be read."""
    try:
        labels = read_mask(path)
    except DataError as error:
        return str(error).removeprefix("data: ")
    if labels.ndim == 3:
        return f"{path} contains colours: a label map has grey values or a palette"
    return {str(value): rle for value, rle in from_labels(labels).items()}


def _colour_map(path: Path) -> dict[str, RLE] | str:
    """Read the objects of a map by value or colour, or return the reason why it cannot be read."""
    try:
        values: NDArray[Any] = read_mask(path)
    except DataError as error:
        return str(error).removeprefix("data: ")
    if values.ndim == 2:
        return {str(value): rle for value, rle in from_labels(values).items()}
    codes = values.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return {f"{code >> 16}/{code >> 8 & 255}/{code & 255}": rle for code, rle in from_labels(codes).items()}


def _read_masks(paths: Sequence[Path], spec: MaskSpec) -> Iterator[dict[str, RLE] | str]:
    values = MaskValues.parse(spec)
    for path in paths:
        try:
            yield {_OBJECT: encode_rle(values.labels(read_mask(path), path) == 1)}
        except DataError as error:
            yield str(error).removeprefix("data: ")


def _add(entry: AnnotatedImage, path: Path, outcome: dict[str, RLE] | str) -> None:
    """Add the objects, or the problem, of one file to its image."""
    if isinstance(outcome, str):
        entry.problems.append(f"has an annotation that cannot be used: {outcome}")
        return
    for category, rle in outcome.items():
        label = f"{path.name}, value {category}" if category != _OBJECT else path.name
        entry.stated_size = tuple(rle["size"])
        entry.regions.append(Region(label, category, RunLengths(rle["counts"], rle["size"])))


def _annotations(source: Path, format: str, entries: list[AnnotatedImage], problems: dict[str, str]) -> Annotations:
    entries = [entry for entry in entries if str(entry.source) not in problems]
    categories = frozenset(region.category for entry in entries for region in entry.regions)
    return Annotations(source, format, categories, entries, [Problem(*item) for item in problems.items()])


def _require(images: Path | None, format: str) -> Path:
    if images is None:
        raise ConfigError(f"annotations: {format} do not name their images: give the folder with --images")
    return images
