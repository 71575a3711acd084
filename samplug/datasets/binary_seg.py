"""Image and mask folders as a dataset."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mmengine.dataset import BaseDataset

from samplug.datasets.io import IMAGE_SUFFIXES, DataError
from samplug.datasets.mask_values import MaskValues, decide
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError

_LISTED = 8
_SAMPLED_MASKS = 32


@DATASETS.register_module()
class BinarySegDataset(BaseDataset):
    """Binary segmentation from a folder of images and a folder of masks, paired by file stem.

    Args:
        data_root: Folder that holds both.
        image_dir: Folder of images under ``data_root``.
        mask_dir: Folder of masks under ``data_root``.
        mask_values: Which values mean foreground, a spec of :class:`samplug.datasets.mask_values.MaskValues`; ``'auto'``: ``'0/1'``
            or ``'0/255'``, decided once from a sample of the masks. A mask that does not fit stops the run when it is read.
        part: None: all pairs. ``'train'`` or ``'val'``: a split by the hash of the stem, the same on every machine, and stable
            when files are added.
        val_fraction: Expected share of the ``'val'`` part.
        **kwargs: ``pipeline`` and the rest of MMEngine's ``BaseDataset``.

    Raises:
        DataError: Folders that are missing or empty, files without a partner, two files of one stem, masks of mixed kinds.
    """

    METAINFO = dict(classes=("background", "foreground"), palette=[[0, 0, 0], [255, 255, 255]])

    def __init__(
        self,
        data_root: str,
        image_dir: str = "images",
        mask_dir: str = "masks",
        mask_values: str | Mapping[str, Any] = "auto",
        part: Literal["train", "val"] | None = None,
        val_fraction: float = 0.2,
        **kwargs: Any,
    ) -> None:
        if part not in (None, "train", "val"):
            raise ConfigError(f"BinarySegDataset: part={part!r} is not 'train', 'val' or None")
        self.image_dir = Path(data_root).expanduser() / image_dir
        self.mask_dir = Path(data_root).expanduser() / mask_dir
        self.mask_values = mask_values if mask_values == "auto" else MaskValues.parse(mask_values).spec
        self.part = part
        self.val_fraction = val_fraction
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        images, masks = _files_by_stem(self.image_dir), _files_by_stem(self.mask_dir)
        alone = [str(images[stem]) for stem in images.keys() - masks.keys()]
        alone += [str(masks[stem]) for stem in masks.keys() - images.keys()]
        if alone:
            more = f" and {len(alone) - _LISTED} more" if len(alone) > _LISTED else ""
            raise DataError(
                f"data: {len(alone)} files have no partner of the same stem in {self.image_dir} and {self.mask_dir}: "
                f"{', '.join(sorted(alone)[:_LISTED])}{more}: rename or remove them"
            )
        stems = sorted(images)
        sample = [masks[stem] for stem in stems[:: max(1, len(stems) // _SAMPLED_MASKS)]]
        kind = decide(sample) if self.mask_values == "auto" else self.mask_values
        if self.part is not None:
            stems = [stem for stem in stems if (_unit_hash(stem) < self.val_fraction) == (self.part == "val")]
            if not stems:
                raise DataError(
                    f"data: part={self.part!r} of {len(images)} pairs in {self.image_dir} is empty: change val_fraction"
                )
        return [
            dict(img_path=str(images[stem]), seg_map_path=str(masks[stem]), mask_values=kind, seg_fields=[])
            for stem in stems
        ]


def _files_by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"data: the folder {folder} does not exist")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            raise DataError(
                f"data: {files[path.stem]} and {path} have the same stem: pairs would be ambiguous, rename one"
            )
        files[path.stem] = path
    if not files:
        raise DataError(f"data: {folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return files


def _unit_hash(stem: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(stem.encode()).digest()[:8]) / np.float64(2**64)
