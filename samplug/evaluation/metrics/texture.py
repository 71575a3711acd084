"""Metric of automatic masks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
        dataset: Meaning of the labels, see :class:`Texture`. None: the layout of the tested
            :class:`~samplug.datasets.TextureSegDataset`, so that sets of different layouts can be tested together;
            ``'rwtd'`` for other datasets.
        mode: See :class:`Texture`; also for ``row_empty`` and ``published``.
        **kwargs: See :class:`PerImageMetric`.
    """

    def __init__(
        self,
        dataset: Literal["rwtd", "stmd", "ade20k"] | None = None,
        mode: Literal["strict", "texturesam"] = "strict",
        row_empty: RowEmpty = "zero",
        published: bool = False,
        **kwargs: Any,
    ) -> None:
        settings: dict[str, Any] = dict(mode=mode, row_empty=row_empty, published=published)
        super().__init__(Texture(dataset=dataset or "rwtd", **settings), **kwargs)
        self.protocol: Texture
        self._follows_dataset = dataset is None

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Metainfo of the tested dataset; its ``layout`` is the meaning of the labels."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any] | None) -> None:
        self._dataset_meta = dataset_meta
        layout = (dataset_meta or {}).get("layout")
        if layout and self._follows_dataset:
            self.protocol = replace(self.protocol, dataset=layout)

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
