"""Metric of interactive segmentation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from samplug.evaluation.metrics.per_image import PerImageMetric, ground_truth_map
from samplug.evaluation.protocols import Clicks, Labels
from samplug.registry import METRICS
from samplug.utils.errors import DataError


@METRICS.register_module()
class ClickMetric(PerImageMetric):
    """Metric of interactive segmentation, see :class:`Clicks`.

    Its scores are ``IoU@k`` ``Dice@k`` ``BIoU@k`` after k prompts, ``NoC@80`` ``NoC@85`` ``NoC@90`` and ``NoF@..``.

    Use it for models that predict masks after each of several prompts for an object, such as
    :class:`samplug.models.PromptableSAM`. The model's ``test_prompts`` set the number of prompts: 20 clicks at the
    centre of the largest error are ``dict(type='PromptSimulator', box_prob=0.0, click='center',
    correction_from_truth_prob=0.0, num_correction_points=19)``. Samples hold ``pred_clicks`` of B objects: ``masks``, B
    lists of T masks as COCO RLE, and ``scores`` (B, T). Rows of ``out_file`` are objects, ``IMAGE#0``, ``IMAGE#1``, ...

    Args:
        **kwargs: See :class:`PerImageMetric`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(Clicks(), **kwargs)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        for sample in data_samples:
            name = sample["img_path"]
            if "pred_clicks" not in sample:
                raise DataError(
                    f"ClickMetric: {name}: the model predicted no masks for prompts (pred_clicks): use PromptableSAM, "
                    "or OverlapMetric for models without prompts"
                )
            masks = sample["pred_clicks"]["masks"]
            if torch.as_tensor(sample["pred_clicks"]["scores"]).isnan().any():
                raise DataError(f"ClickMetric: {name}: the model's masks are NaN: check its weights and its precision")
            for index, (ground_truth, steps) in enumerate(zip(_ground_truths(sample), masks, strict=True)):
                self.submit(f"{name}#{index}", steps, ground_truth)
            if not masks:
                self.submit(f"{name}#-", [], np.zeros(sample["ori_shape"], np.uint8))

    @staticmethod
    def image_of(name: str) -> str:
        return name.rpartition("#")[0]


def _ground_truths(sample: Mapping[str, Any]) -> Iterator[Labels]:
    """Yield the labels (H, W) of each object: 1 = object, 0 = background, 255 = ignored."""
    masks = sample.get("gt_instances", {}).get("masks")
    if masks is None:
        yield ground_truth_map(sample)
        return
    for mask in getattr(masks, "masks", masks):
        yield torch.as_tensor(mask).cpu().numpy().astype(np.uint8)
