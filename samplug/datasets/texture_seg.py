"""Dataset of images and label maps of regions: RWTD, STMD, and instances of ADE20K."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from samplug.datasets.paired import PairedDataset
from samplug.datasets.pairing import Pair
from samplug.datasets.scan import describe_sizes
from samplug.datasets.scan_cache import examine_files
from samplug.datasets.transforms.loading import load_regions
from samplug.imaging.files import read_image
from samplug.registry import DATASETS
from samplug.utils.errors import DataError
from samplug.utils.text import printable

Layout = Literal["rwtd", "stmd", "ade20k"]

# Folders of images and label maps; the first of which both exist are used, or else the first.
_FOLDERS = {
    "rwtd": (("images", "labels"), ("images", "labeles")),
    "stmd": (("images_test", "labels_test"), ("images", "groundtruth")),
    "ade20k": (("images", "ADE20K_unified_gt_instances"),),
}
_INSTANCES = "gt_instances"
_UNIFIED = "unified_"  # in front of the name of the image


@dataclass(frozen=True)
class RegionFacts:
    """Facts about one image and its label map.

    Attributes:
        width: Width of the image in pixels, after EXIF rotation.
        height: Height of the image in pixels, after EXIF rotation.
        regions: Number of regions.
        error: Reason why the pair cannot be used; None if it can.
    """

    width: int = 0
    height: int = 0
    regions: int = 0
    error: str | None = None


@DATASETS.register_module()
class TextureSegDataset(PairedDataset):
    """Dataset of images and label maps, every value of which is a region: the ground truth of texture segmentation.

    ``layout`` names the published set, its folders and the meaning of its values:

    * ``'rwtd'``: ``images`` (or, by ``image_dir``, ``images_textured``) with ``labels`` or ``labeles``.
    * ``'stmd'``: ``images_test`` with ``labels_test``, or ``images`` with ``groundtruth``; ``ann_file='test.txt'``
      lists the images, a number a line.
    * ``'ade20k'``: ``images`` with ``ADE20K_unified_gt_instances/unified_NAME.png``; 0 is no instance.
      ``tools/prepare_data.py ade20k`` makes these files from those of ``gt_instances``.

    Other folders take the values of one of them. Samples are read by
    :class:`~samplug.datasets.transforms.LoadRegionMap` and scored by
    :class:`~samplug.evaluation.metrics.TextureMetric`, which learns the layout from ``metainfo``;
    a ``ConcatDataset`` of several layouts needs ``ignore_keys=['layout']``.

    Args:
        data_root: Folder that contains images and label maps.
        layout: ``'rwtd'``, ``'stmd'`` or ``'ade20k'``.
        image_dir: Folder of images under ``data_root``; None: that of the layout.
        mask_dir: Folder of label maps under ``data_root``; None: that of the layout.
        img_suffix, seg_map_suffix, recursive, include, extra_masks, ann_file: See
            :class:`~samplug.datasets.PairedDataset`.
        check, on_error, name, published, part, val_fraction, test_fraction: See
            :class:`~samplug.datasets.base.CheckedDataset`.
        **kwargs: ``pipeline`` and the other arguments of MMEngine's ``BaseDataset``.

    Raises:
        ConfigError: An option has a value that is not listed above.
        DataError: Folders are missing or empty, a file has no partner, two files share a name, a file is broken, a
            label map has colours or another size than its image, or a single value (0 alone may be in ``'ade20k'``).
    """

    METAINFO = dict(classes=("region",), palette=[[220, 20, 60]])
    PARTNER = "label map"

    def __init__(
        self,
        data_root: str,
        layout: Layout = "rwtd",
        image_dir: str | None = None,
        mask_dir: str | None = None,
        metainfo: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._require("layout", layout, get_args(Layout))
        self.layout = layout
        images, masks = _folders(Path(data_root).expanduser(), layout, image_dir, mask_dir)
        super().__init__(data_root, images, masks, metainfo={**(metainfo or {}), "layout": layout}, **kwargs)

    @property
    def no_region(self) -> int | None:
        """Value that marks no region; None if every value is a region."""
        return 0 if self.layout == "ade20k" else None

    def describe(self) -> str:
        valid = [fact for fact in self.facts.values() if not fact.error]
        if not valid:
            return "no valid pair"
        numbers = [fact.regions for fact in valid]
        few, many = min(numbers), max(numbers)
        regions = f"{few} to {many} regions (mean {np.mean(numbers):.1f})"
        if few == many:
            regions = f"{few} region{'' if few == 1 else 's'}"
        return f"labels as {self.layout}, {describe_sizes(valid)}, {regions} an image"

    def remarks(self) -> list[str]:
        bare = [name for name, fact in self.facts.items() if not fact.error and not fact.regions]
        if not bare:
            return []
        names = ", ".join(map(printable, bare[:5]))
        return [f"look at {len(bare)} label maps without a region: {names}{', ...' if len(bare) > 5 else ''}"]

    def _examine(self, items: Sequence[Pair], sample: int | None) -> Mapping[str, RegionFacts]:
        return examine_files(items, self._facts_of, RegionFacts, [self.no_region], sample)

    def _facts_of(self, pair: Pair) -> RegionFacts:
        try:
            height, width = read_image(pair.image).shape[:2]
            labels = load_regions(pair.mask, (height, width), pair.image, self.no_region)
        except DataError as error:
            return RegionFacts(error=str(error).removeprefix("data: "))
        values = np.flatnonzero(np.bincount(labels.ravel()))
        return RegionFacts(width, height, int(np.count_nonzero(values != self.no_region)))

    def _entry(self, item: Pair) -> dict[str, Any]:
        return dict(
            img_path=str(item.image),
            seg_map_path=str(item.mask),
            no_region=self.no_region,
            dataset_name=self.name,
            seg_fields=[],
        )

    def _list_masks(self) -> tuple[dict[str, Path], dict[str, str]]:
        instances = self.mask_dir.parent / _INSTANCES
        if self.layout == "ade20k" and not self.mask_dir.is_dir() and instances.is_dir():
            raise DataError(
                f"data: {self.mask_dir} does not exist: make it with python tools/prepare_data.py ade20k {instances} "
                f"{self.mask_dir} --images {self.image_dir} --to unified"
            )
        files, problems = super()._list_masks()
        if self.layout == "ade20k":
            files = {_image_name(name): path for name, path in files.items()}
        return files, problems


def _folders(root: Path, layout: str, image_dir: str | None, mask_dir: str | None) -> tuple[str, str]:
    """Return the folders of images and label maps; those that are given replace those of the layout."""
    wanted = [
        (images if image_dir is None else image_dir, masks if mask_dir is None else mask_dir)
        for images, masks in _FOLDERS[layout]
    ]
    there = [(images, masks) for images, masks in wanted if (root / images).is_dir() and (root / masks).is_dir()]
    return (there or wanted)[0]


def _image_name(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.removeprefix(_UNIFIED)}"
