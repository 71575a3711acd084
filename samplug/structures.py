"""Samples that pipelines pack, models complete and metrics read."""

from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor


class ClassDataSample(BaseDataElement):
    """Sample of image classification, in mmpretrain's layout.

    Attributes:
        gt_label: (1,) int64, index of the class.
        pred_score: (K,) float, a score for each class, logits or probabilities: the larger the likelier.
        pred_logits: (K,) float, logits of the scores; small probabilities round to 0, their logits do not.
        pred_label: (1,) int64, index of the class of the largest score.
        pred_feature: (D,) float, pooled output of the encoder.
    """

    gt_label: Tensor
    pred_score: Tensor
    pred_logits: Tensor
    pred_label: Tensor
    pred_feature: Tensor

    def set_gt_label(self, label: int | Sequence[int] | Tensor) -> "ClassDataSample":
        """Set ``gt_label``."""
        self.gt_label = torch.as_tensor(label, dtype=torch.int64).reshape(-1)
        return self

    def set_pred_score(self, score: Tensor) -> "ClassDataSample":
        """Set ``pred_score`` (K,), and ``pred_label`` to the first class of the largest score."""
        self.pred_score = score
        self.pred_label = score.argmax(dim=-1, keepdim=True)
        return self
