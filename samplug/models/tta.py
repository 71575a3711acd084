"""Test-time augmentation."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData

from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from samplug.utils.imports import quiet_optional_operators
from samplug.utils.model_outputs import as_logits, outputs_of

with quiet_optional_operators():
    from mmseg.structures import SegDataSample


@MODELS.register_module()
class SegTTAModel(BaseTTAModel):
    """mmseg's test-time augmentation, with the mean over the views also in ``seg_logits``.

    mmseg leaves the logits of the last view there, which metrics and written masks would use.

    Args:
        *args: Positional arguments of MMEngine's ``BaseTTAModel``, such as ``module``, the model or its config.
        **kwargs: Keyword arguments of ``BaseTTAModel``.

    Raises:
        ConfigError: ``module`` is not a segmentor, so its views have no logits of equal size to average.
    """

    outputs = "logits"  # also around a model that returns probabilities

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(self.module, "out_channels"):  # attribute of samplug's and mmseg's segmentors
            raise ConfigError(
                f"SegTTAModel: test-time augmentation needs a segmentor, and "
                f"{type(self.module).__name__} is not one: test without --tta"
            )

    def merge_preds(self, data_samples_list: Sequence[Sequence[SegDataSample]]) -> list[SegDataSample]:
        """Average the probabilities of each image's views.

        Args:
            data_samples_list: Predictions of the views of each image, of one size.

        Returns:
            Samples of the first view, with merged ``seg_logits`` (classes, H, W) and ``pred_sem_seg`` (1, H, W). They
            have no ``frame_logits``: scores as in the paper are those of a single view.
        """
        merged = []
        outputs = outputs_of(self.module)
        for views in data_samples_list:
            logits = torch.stack([as_logits(view.seg_logits.data, outputs) for view in views])
            if self.module.out_channels == 1:
                mean = logits.sigmoid().mean(dim=0)
                decision = (mean > self.module.decode_head.threshold).long()
                logits = mean.logit(torch.finfo(mean.dtype).eps)
            else:
                logits = logits.log_softmax(dim=1).logsumexp(dim=0) - math.log(len(views))
                decision = logits.argmax(dim=0, keepdim=True)
            sample = views[0]
            sample.set_data({"seg_logits": PixelData(data=logits), "pred_sem_seg": PixelData(data=decision)})
            if "frame_logits" in sample:
                del sample.frame_logits
            merged.append(sample)
        return merged
