"""Base class of datasets with several objects in an image, in the format of mmdet's transforms."""

import random
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samplug.datasets.base import CheckedDataset
from samplug.datasets.configs import datasets_of
from samplug.datasets.scan_cache import examine_files
from samplug.imaging.files import read_image, read_size
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.imports import quiet_optional_operators
from samplug.utils.rle import RLE
from samplug.utils.text import shorten

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AnnotatedFile:
    """An image, the files of its annotations, and the name they share."""

    name: str
    image: Path
    annotations: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Paths of the image and of all annotations."""
        return self.image, *self.annotations


@dataclass(frozen=True)
class ObjectFacts:
    """Facts about one image and its objects.

    Attributes:
        width: Width in pixels, after EXIF rotation.
        height: Height in pixels, after EXIF rotation.
        objects: Number of objects that are used.
        empty: Number of masks without a pixel, which are left out.
        other_areas: Number of objects left out because of ``min_area`` or ``max_area``.
        smallest: Area in pixels of the smallest object that is used.
        largest: Area in pixels of the largest object that is used.
        error: Reason why the image cannot be used; None if it can.
    """

    width: int = 0
    height: int = 0
    objects: int = 0
    empty: int = 0
    other_areas: int = 0
    smallest: int = 0
    largest: int = 0
    error: str | None = None


class InstanceSegDataset(CheckedDataset):
    """Base class of datasets for promptable models: each image contains any number of objects without classes.

    The data list contains only paths; annotations are parsed when a sample is loaded. ``get_data_info`` returns the
    entries that mmdet's transforms take: ``img_path``, ``img_id`` (the name), ``height``, ``width``, ``dataset_name``
    and ``instances``. Each instance has ``bbox`` (x0, y0, x1, y1 in pixels, x1 and y1 exclusive; the tight box of the
    mask), ``bbox_label`` 0, ``ignore_flag`` 0 and ``mask``, COCO's compressed run lengths in the size of the image.
    Masks without a pixel are left out and counted. An image without objects is a sample without instances; with
    ``filter_cfg=dict(filter_empty_gt=True)`` it is left out of training, as in mmdet; every file is then read before
    the run.

    A subclass finds the files (``_find``) and reads the masks of an image (``read_masks``).

    Args:
        data_root: Folder of the dataset.
        folders: Folders that error messages name.
        max_objects: Largest number of objects in a sample. If an image has more, a random subset is drawn each time the
            sample is loaded, in the original order, with Python's generator; within
            :class:`~samplug.datasets.seeding.SeededDataset` the subset is a function of (seed, epoch, sample). None
            keeps all.
        min_area: Leave out smaller objects. An int is an area in pixels, a float a share of the image's area.
        max_area: Leave out larger objects, in the same units. None keeps all.
        **kwargs: ``check``, ``on_error``, ``name``, ``published``, ``part``, ``val_fraction`` and ``test_fraction`` of
            :class:`~samplug.datasets.base.CheckedDataset`; ``pipeline`` and the other arguments of MMEngine's
            ``BaseDataset``.

    Raises:
        ConfigError: An option has a value that is not listed above.
        DataError: Folders are missing or empty, a file has no partner, or a file is broken.
    """

    METAINFO = dict(classes=("object",), palette=[[220, 20, 60]])

    def __init__(
        self,
        data_root: Path,
        folders: Sequence[Path],
        max_objects: int | None = None,
        min_area: int | float = 0,
        max_area: int | float | None = None,
        **kwargs: Any,
    ) -> None:
        if max_objects is not None and (not isinstance(max_objects, int) or max_objects < 1):
            raise ConfigError(f"{type(self).__name__}: max_objects={max_objects!r} must be None or at least 1")
        for key, area in (("min_area", min_area), ("max_area", max_area)):
            self._check_area(key, area)
        if unknown := sorted(set(kwargs.get("filter_cfg") or {}) - {"filter_empty_gt"}):
            raise ConfigError(f"{type(self).__name__}: filter_cfg has {', '.join(unknown)}; it knows filter_empty_gt")
        self.max_objects = max_objects
        self.min_area, self.max_area = min_area, max_area
        with quiet_optional_operators():
            import mmdet.datasets.transforms  # noqa: F401  # pipelines use them; their first import warns
        super().__init__(data_root, folders, **kwargs)

    @staticmethod
    def memory_advice(cfg: Mapping[str, Any], activations: int) -> list[str]:
        """Return settings that lower the memory of training, see :func:`samplug.engine.run_errors.memory_advice`."""
        datasets = datasets_of(cfg["train_dataloader"]["dataset"])
        most = next((own["max_objects"] for own in datasets if "max_objects" in own), None)
        if most == 1:
            return []
        now = f" instead of {most}" if most else "; now all of them are"
        return [f"train_dataloader.dataset.max_objects={most // 2 if most else 8}: objects of an image in a step{now}"]

    @abstractmethod
    def read_masks(self, annotations: Sequence[Path], size: Size, image: Path) -> list[RLE]:
        """Read the masks of an image in a fixed order, empty ones included.

        Args:
            annotations: Annotation files of the image.
            size: (height, width) of the image and of the masks.
            image: File of the image, for messages.

        Raises:
            DataError: The annotations cannot be read, or have another size.
        """

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return the entry of an image with all objects whose area is in range, see the class.

        Raises:
            DataError: The annotations cannot be read, or do not fit the image.
        """
        info = super().get_data_info(idx)
        image = Path(info["img_path"])
        size = read_size(image)
        masks = self.read_masks([Path(path) for path in info.pop("ann_paths")], size, image)
        masks = [masks[index] for index in np.flatnonzero(self._in_range(_areas(masks), size))]
        boxes = coco_mask.toBbox(masks).tolist() if masks else []
        info["height"], info["width"] = size
        info["instances"] = [
            dict(bbox=[x, y, x + width, y + height], bbox_label=0, mask=mask, ignore_flag=0)
            for mask, (x, y, width, height) in zip(masks, boxes, strict=True)
        ]
        return info

    def prepare_data(self, idx: int) -> Any:
        # Sample here and not in get_data_info: samplers and metrics may call that any number of times.
        info = self.get_data_info(idx)
        objects = info["instances"]
        if self.max_objects is not None and len(objects) > self.max_objects:
            info["instances"] = [objects[i] for i in sorted(random.sample(range(len(objects)), self.max_objects))]
        return self.pipeline(info)

    def filter_data(self) -> list[dict[str, Any]]:
        if not self._filters_empty():
            return self.data_list
        kept = [info for info in self.data_list if self.facts[info["img_id"]].objects]
        if not kept:
            raise DataError(
                f"data: no image of {self.name} ({self.folders[0]}) has an object in range: change min_area or "
                "max_area, or leave out filter_empty_gt"
            )
        return kept

    def describe(self) -> str:
        facts = [fact for fact in self.facts.values() if not fact.error]
        if not facts:
            return "no valid image"
        counts = [fact.objects for fact in facts]
        sizes = sorted({(fact.width * fact.height, f"{fact.width}x{fact.height}") for fact in facts})
        text = " to ".join(dict.fromkeys([sizes[0][1], sizes[-1][1]]))
        text += f", {sum(counts):,} objects ({min(counts)} to {max(counts)} an image"
        if used := [fact for fact in facts if fact.objects]:
            text += f", {min(fact.smallest for fact in used):,} to {max(fact.largest for fact in used):,} pixels"
        text += ")"
        if other := sum(fact.other_areas for fact in facts):
            text += f", {other:,} left out by their area"
        if empty := sum(fact.empty for fact in facts):
            text += f", {empty:,} empty masks left out"
        if bare := counts.count(0):
            text += f"; {bare:,} images without objects{', left out' if self._filters_empty() else ''}"
        return text

    def _filters_empty(self) -> bool:
        return bool((self.filter_cfg or {}).get("filter_empty_gt")) and not self.test_mode

    def _reads_all(self) -> bool:
        return super()._reads_all() or self._filters_empty()

    def _entry(self, item: AnnotatedFile) -> dict[str, Any]:
        return dict(
            img_path=str(item.image),
            ann_paths=[str(path) for path in item.annotations],
            img_id=item.name,
            dataset_name=self.name,
        )

    def _examine(self, items: Sequence[AnnotatedFile], sample: int | None) -> Mapping[str, ObjectFacts]:
        return examine_files(items, self._facts_of, ObjectFacts, self._settings(), sample)

    def _settings(self) -> list[Any]:
        """Return the settings that the facts depend on besides the files, ready for JSON."""
        return [type(self).__name__, self.min_area, self.max_area]

    def _facts_of(self, item: AnnotatedFile) -> ObjectFacts:
        try:
            height, width = read_image(item.image).shape[:2]
            areas = _areas(self.read_masks(item.annotations, (height, width), item.image))
        except DataError as error:
            return ObjectFacts(error=str(error).removeprefix("data: "))
        used = areas[self._in_range(areas, (height, width))]
        empty = int((areas == 0).sum())
        smallest, largest = (int(used.min()), int(used.max())) if len(used) else (0, 0)
        return ObjectFacts(width, height, len(used), empty, len(areas) - len(used) - empty, smallest, largest)

    def _in_range(self, areas: NDArray[np.int64], size: Size) -> NDArray[np.bool_]:
        """Select the masks that are used in an image of this size by their areas (N,): (N,) bool."""
        pixels = size[0] * size[1]
        lowest, highest = (
            area * pixels if isinstance(area, float) else area for area in (self.min_area, self.max_area)
        )
        return (areas >= max(lowest or 0, 1)) & (areas <= (pixels if highest is None else highest))

    def _check_area(self, key: str, area: Any) -> None:
        if isinstance(area, float) and not 0 <= area <= 1:
            raise ConfigError(
                f"{type(self).__name__}: {key}={area!r} is not a share of the image's area in [0, 1]; write an int for "
                "pixels"
            )
        if not (isinstance(area, int | float) and area >= 0) and (key, area) != ("max_area", None):
            raise ConfigError(
                f"{type(self).__name__}: {key}={area!r} is neither pixels nor a share of the image's area"
            )


def size_error(found: Size, size: Size, annotation: str | Path, image: Path) -> DataError:
    """Make the error for an annotation whose size (height, width) differs from its image."""
    rotated = ""
    if found == size[::-1]:
        rotated = ", or the image has an EXIF rotation that the annotation lacks: save both upright"
    height, width = map(shorten, found)
    return DataError(
        f"data: {annotation} is for {width}x{height}, its image {image} is {size[1]}x{size[0]} (width x height): "
        f"annotations must have the size of their images{rotated}"
    )


def _areas(masks: Sequence[RLE]) -> NDArray[np.int64]:
    # Call it for each mask: for a list, pycocotools 2.0 counts in 8 bits and stops at 256 masks.
    return np.array([coco_mask.area(mask) for mask in masks], np.int64)
