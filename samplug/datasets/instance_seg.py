"""Images of several objects, as mmdet's transforms take them."""

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
from samplug.datasets.scan_cache import examine_files
from samplug.imaging.files import read_image, read_size
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.imports import quiet_optional_operators
from samplug.utils.rle import RLE

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AnnotatedFile:
    """An image, the files of its annotations, and the name they share."""

    name: str
    image: Path
    annotations: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All."""
        return self.image, *self.annotations


@dataclass(frozen=True)
class ObjectFacts:
    """What one image was found to be.

    Attributes:
        width: In pixels, after EXIF rotation.
        height: Likewise.
        objects: Number of those that are used.
        empty: Masks without a pixel, which are left out.
        other_areas: Objects left out because of ``min_area`` and ``max_area``.
        smallest: Pixels of the smallest object that is used.
        largest: Of the largest one.
        error: Why the image cannot be used, if it cannot.
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
    """Base of datasets whose images have any number of objects without classes: what promptable models are trained on.

    The data list holds paths only; annotations are parsed when a sample is made. ``get_data_info`` gives what mmdet's transforms take:
    ``img_path``, ``img_id`` (the name), ``height``, ``width``, ``dataset_name`` and ``instances``, each with ``bbox`` (x0, y0, x1, y1 in pixels, x1 and y1
    exclusive; the tight box of the mask), ``bbox_label`` 0, ``ignore_flag`` 0 and ``mask``, COCO's compressed run lengths in the size
    of the image. Masks without a pixel are left out and counted. An image without objects is a sample with none; with
    ``filter_cfg=dict(filter_empty_gt=True)`` it is left out of training, as in mmdet, for which every file is read before the run.

    A subclass finds the files (``_find``) and reads the masks of an image (``read_masks``).

    Args:
        data_root: Folder of the set.
        folders: The folders that errors name.
        max_objects: At most so many objects a sample, drawn anew each time it is made, with Python's generator: behind
            :class:`~samplug.datasets.seeding.SeededDataset` a function of (seed, epoch, sample). They stay in their order. None: all.
        min_area: Smaller objects are left out. A whole number is pixels of the image, a float the share of the image's area.
        max_area: Larger objects are left out; likewise. None: none are.
        **kwargs: ``check``, ``on_error``, ``name``, ``published``, ``part``, ``val_fraction`` and ``test_fraction`` as in
            :class:`BinarySegDataset`; ``pipeline`` and the rest of MMEngine's ``BaseDataset``.

    Raises:
        ConfigError: An option of another value than those above.
        DataError: Missing or empty folders, files without a partner, broken files.
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
            import mmdet.datasets.transforms  # noqa: F401  # pipelines name them; their first import would complain
        super().__init__(data_root, folders, **kwargs)

    @staticmethod
    def memory_advice(cfg: Mapping[str, Any], activations: int) -> list[str]:
        """Settings that lower the memory of training, see :func:`samplug.engine.run_errors.memory_advice`."""
        most = cfg["train_dataloader"]["dataset"].get("max_objects")
        if most == 1:
            return []
        now = f" instead of {most}" if most else "; now all of them are"
        return [f"train_dataloader.dataset.max_objects={most // 2 if most else 8}: objects of an image in a step{now}"]

    @abstractmethod
    def read_masks(self, annotations: Sequence[Path], size: Size, image: Path) -> list[RLE]:
        """The masks of an image in a fixed order, empty ones included.

        Args:
            annotations: The files that belong to the image.
            size: Height and width of the image; masks have the same.
            image: The image's file, for messages.

        Raises:
            DataError: They cannot be read, or are of another size.
        """

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """All objects of an image whose area is in range; see the class.

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
        # The draw is here and not in get_data_info, which samplers and metrics may call as often as they like.
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
                f"data: no image of {self.name} ({self.folders[0]}) has an object that is used: change min_area or max_area, or "
                "leave out filter_empty_gt"
            )
        return kept

    def describe(self) -> str:
        facts = [fact for fact in self.facts.values() if not fact.error]
        if not facts:
            return "no sound image"
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
        """What facts depend on beside the files, ready for json."""
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
        """(N,) bool: the masks of these areas that are used on an image of this size."""
        pixels = size[0] * size[1]
        lowest, highest = (
            area * pixels if isinstance(area, float) else area for area in (self.min_area, self.max_area)
        )
        return (areas >= max(lowest or 0, 1)) & (areas <= (pixels if highest is None else highest))

    def _check_area(self, key: str, area: Any) -> None:
        if isinstance(area, float) and not 0 <= area <= 1:
            raise ConfigError(
                f"{type(self).__name__}: {key}={area!r} is no share of the image's area, 0 to 1; write a whole number for pixels"
            )
        if not (isinstance(area, int | float) and area >= 0) and (key, area) != ("max_area", None):
            raise ConfigError(
                f"{type(self).__name__}: {key}={area!r} is neither pixels nor a share of the image's area"
            )


def size_error(found: Size, size: Size, annotation: str | Path, image: Path) -> DataError:
    """The error for an annotation of another size (height, width) than its image."""
    rotated = ""
    if found == size[::-1]:
        rotated = ", or the picture has an EXIF rotation that the annotation lacks: save both upright"
    return DataError(
        f"data: {annotation} is for {found[1]}x{found[0]}, its image {image} is {size[1]}x{size[0]} (width x height): "
        f"annotations must have the size of their images{rotated}"
    )


def _areas(masks: Sequence[RLE]) -> NDArray[np.int64]:
    # One by one: pycocotools 2.0 counts a list in 8 bits and stops at 256 masks.
    return np.array([coco_mask.area(mask) for mask in masks], np.int64)
