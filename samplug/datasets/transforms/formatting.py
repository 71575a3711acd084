"""Transforms that pack samples."""

from collections.abc import Sequence

from samplug.registry import TRANSFORMS
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmseg.datasets.transforms import PackSegInputs as _PackSegInputs

META_KEYS = (
    "img_path", "seg_map_path", "dataset_name", "ori_shape", "img_shape", "pad_shape", "scale_factor", "flip",
    "flip_direction", "reduce_zero_label", "no_region",
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
