"""The metric of interactive segmentation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samplug.evaluation.metrics.per_image import PerImageMetric, ground_truth_map
from samplug.evaluation.protocols.clicks import Clicks
from samplug.registry import METRICS
from samplug.utils.errors import DataError

_Truth = tuple[NDArray[np.bool_], NDArray[np.bool_] | None]


@METRICS.register_module()
class ClickMetric(PerImageMetric):
    """``IoU@k`` ``Dice@k`` ``BIoU@k`` after k prompts, ``NoC@80`` ``NoC@85`` ``NoC@90`` and ``NoF@..``, see :class:`Clicks`.

    For models that answer several prompts for an object, such as :class:`samplug.models.PromptableSAM`, whose ``test_prompts`` say how many
    there are: 20 clicks at the centre of the largest error are ``dict(type='PromptSimulator', box_prob=0.0, click='center',
    correction_from_truth_prob=0.0, num_correction_points=19)``. Rows of ``out_file`` are objects, ``IMAGE#0``, ``IMAGE#1``, ...

    Args:
        **kwargs: See :class:`PerImageMetric`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(Clicks(), None, **kwargs)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        for sample in data_samples:
            name, row = sample["img_path"], sample.get("dataset_name") or ""
            if "pred_clicks" not in sample:
                raise DataError(
                    f"ClickMetric: {name}: the model predicted no masks for prompts (pred_clicks): use PromptableSAM, or OverlapMetric "
                    f"for models without prompts"
                )
            masks = sample["pred_clicks"]["masks"]
            if torch.as_tensor(sample["pred_clicks"]["scores"]).isnan().any():
                raise DataError(
                    f"ClickMetric: {name}: the model's masks are NaN: its weights, or its precision, are broken"
                )
            for index, ((gt, valid), own) in enumerate(zip(_truths(sample), masks, strict=True)):
                self._submit_object(row, f"{name}#{index}", own, gt, valid)
            if not masks:
                self._submit_object(row, f"{name}#-", [], np.zeros(sample["ori_shape"], bool), None)

    def _submit_object(self, row: str, name: str, answer: Any, gt: NDArray[np.bool_], valid: Any) -> None:
        self._submit("", dict(img_path=name, dataset_name=row), self.protocol, answer, gt, valid)

    @staticmethod
    def image_of(row: str) -> str:
        return row.rpartition("#")[0]


def _truths(sample: Mapping[str, Any]) -> Iterator[_Truth]:
    """The mask of each object, and where it is known."""
    masks = sample.get("gt_instances", {}).get("masks")
    if masks is None:
        yield ground_truth_map(sample)
        return
    for mask in getattr(masks, "masks", masks):
        labels = torch.as_tensor(mask).cpu().numpy()
        yield labels == 1, labels != 255 if (labels == 255).any() else None
