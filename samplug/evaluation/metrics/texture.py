"""Metric of automatic masks."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from samplug.evaluation.functional.texturesam import RowEmpty
from samplug.evaluation.metrics.per_image import PerImageMetric
from samplug.evaluation.protocols import Texture
from samplug.registry import METRICS
from samplug.utils.errors import DataError


@METRICS.register_module()
class TextureMetric(PerImageMetric):
    """``mIoU``, ``ARI`` and ``mIoU_agg`` of automatic masks against the regions of an image, see :class:`Texture`.

    Samples need ``pred_instances.masks``, COCO RLE of the image's size, as :class:`samplug.models.PromptableSAM` with a
    ``mask_generator`` predicts them, and ``gt_sem_seg`` (1, H, W), in which each value is a region.

    Args:
        dataset: See :class:`Texture`; also for ``mode`` and ``row_empty``.
        **kwargs: See :class:`PerImageMetric`.
    """

    def __init__(
        self,
        dataset: Literal["rwtd", "stmd", "ade20k"] = "rwtd",
        mode: Literal["strict", "texturesam"] = "strict",
        row_empty: RowEmpty = "zero",
        **kwargs: Any,
    ) -> None:
        super().__init__(Texture(dataset=dataset, mode=mode, row_empty=row_empty), **kwargs)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        for sample in data_samples:
            name = sample["img_path"]
            masks = sample.get("pred_instances", {}).get("masks")
            if not isinstance(masks, list) or "pred_clicks" in sample:
                raise DataError(
                    f"TextureMetric: {name}: the model did not predict automatic masks: set mask_generator of "
                    "PromptableSAM, such as model.mask_generator=sam2"
                )
            if "gt_sem_seg" not in sample:
                raise DataError(f"TextureMetric: {name}: there is no ground truth: use TextureSegDataset")
            self.submit(name, masks, sample["gt_sem_seg"]["data"][0].cpu().numpy())
