"""Transforms that pack samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from samplug.registry import TRANSFORMS
from samplug.structures import ClassDataSample
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmseg.datasets.transforms import PackSegInputs as _PackSegInputs

META_KEYS = (
    "img_path", "seg_map_path", "dataset_name", "ori_shape", "img_shape", "pad_shape", "scale_factor", "flip",
    "flip_direction", "reduce_zero_label", "no_region",
)  # fmt: skip
CLASS_META_KEYS = (
    "img_path", "img_id", "dataset_name", "bank", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction",
)  # fmt: skip


@TRANSFORMS.register_module()
class PackSegInputs(_PackSegInputs):
    """mmseg's ``PackSegInputs`` that also keeps ``dataset_name``, so that metrics can report each dataset.

    It keeps ``no_region`` too, which tells a map of regions from one of classes.

    Args:
        meta_keys: Entries of ``results`` to copy into the metainfo of the sample; missing ones are left out.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        super().__init__(meta_keys=tuple(meta_keys))


@TRANSFORMS.register_module()
class PackClassInputs(BaseTransform):
    """Pack an image and the index of its class.

    The result has ``inputs``, (3, H, W) uint8 BGR, and ``data_samples``, a :class:`samplug.structures.ClassDataSample`
    with ``gt_label`` (1,) int64, if there is one.

    Args:
        meta_keys: Entries of ``results`` to copy into the metainfo of the sample; missing ones are left out.
    """

    def __init__(self, meta_keys: Sequence[str] = CLASS_META_KEYS) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        sample = ClassDataSample(metainfo={key: results[key] for key in self.meta_keys if key in results})
        if "gt_label" in results:
            sample.set_gt_label(results["gt_label"])
        image = np.ascontiguousarray(results["img"].transpose(2, 0, 1))
        return dict(inputs=torch.from_numpy(image), data_samples=sample)
