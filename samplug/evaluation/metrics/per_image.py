"""MMEngine metrics that score each image on its own and average over images."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from samplug.utils.errors import ConfigError

Scores = dict[str, float]


class PerImageMetric(BaseMetric):
    """Base of metrics over a foreground map and its truth.

    A prediction is scored as the map that would be saved: sigmoid of the logits at the truth's size, ``round(255 p)``, uint8.
    Images that a distributed sampler padded with count once.

    Args:
        out_file: json of all scores: ``{"protocol", "summary", "images", "skipped"}``.
        collect_device: Passed to MMEngine.
        prefix: Put before the metric names, ``prefix/S``.
    """

    protocol: str

    def __init__(self, out_file: str | None = None, collect_device: str = "cpu", prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.out_file = out_file

    @abstractmethod
    def score(self, pred: NDArray[np.uint8], gt: NDArray[np.bool_]) -> Scores:
        """Scores of one image from (H, W) maps."""

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        for sample in data_samples:
            pred, gt = foreground_map(sample), truth_map(sample)
            if pred.shape != gt.shape:
                raise ConfigError(
                    f"{type(self).__name__}: prediction {pred.shape} and truth {gt.shape} of {sample['img_path']} differ in size"
                )
            self.results.append((sample["img_path"], self.score(pred, gt)))

    def compute_metrics(self, results: list[tuple[str, Scores]]) -> Scores:
        images = dict(results)
        names = next(iter(images.values())).keys()
        summary = {name: float(np.mean([scores[name] for scores in images.values()])) for name in names}
        if self.out_file:
            report = dict(protocol=self.protocol, summary=summary, images=images, skipped={})
            Path(self.out_file).parent.mkdir(parents=True, exist_ok=True)
            Path(self.out_file).write_text(json.dumps(report, indent=1))
        return summary


def foreground_map(sample: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The predicted foreground (H, W) uint8 of a data sample with binary ``seg_logits`` (1, H, W).

    Raises:
        ConfigError: The logits are those of several classes.
    """
    logits = sample["seg_logits"]["data"]
    if logits.shape[0] != 1:
        raise ConfigError(
            f"a foreground metric needs one logit per pixel, got {logits.shape[0]} classes: use mmseg.IoUMetric"
        )
    return (logits[0].float().sigmoid() * 255).round().to(torch.uint8).cpu().numpy()


def truth_map(sample: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The true foreground (H, W) bool of a data sample with ``gt_sem_seg`` (1, H, W)."""
    return (sample["gt_sem_seg"]["data"][0] == 1).cpu().numpy()
