"""Scores of the heads that a linear probe trains at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, print_log
from torch import Tensor

from samplug.evaluation.report import table
from samplug.registry import METRICS
from samplug.utils.errors import ConfigError

# Entry of the message hub with the scores of all heads at the last evaluation, on the main process.
HEADS_KEY = "probe_heads"


@METRICS.register_module()
class HeadAccuracy(BaseMetric):
    """``top1``, ``top5`` and ``val_loss`` of one head of a :class:`LinearProbe`, and a table of all heads.

    ``top1`` and ``top5`` are percent of the images, ``top5`` only with more than five classes; ``val_loss`` is the mean
    cross-entropy. With several heads there is also ``head``, the index of the head. :class:`HeadSelectionHook` makes it
    the model's.

    Args:
        choose: True: score the head with the largest ``top1``, the first of equal ones (DINOv2's rule). False: score
            the head that the model chose before, for test sets.
        collect_device: Device on which MMEngine gathers the results of all ranks.
        prefix: Text before the metric names.
    """

    default_prefix = ""  # None would make MMEngine warn
    columns = ("top1", "top5", "val_loss")
    lower_is_better = ("val_loss",)

    def __init__(self, choose: bool = True, collect_device: str = "cpu", prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.choose = choose
        self.heads: tuple[str, ...] = ()
        self.chosen: int | None = None
        self.num_classes = 0

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        for sample in data_samples:
            if "head_ranks" not in sample:
                raise ConfigError(
                    "HeadAccuracy: the samples have no head_ranks: use it with a LinearProbe and labelled images"
                )
            self.heads, self.chosen = tuple(sample["heads"]), sample.get("head")
            self.num_classes = sample["num_classes"]
            self.results.append((sample["head_ranks"].cpu(), sample["head_losses"].cpu()))

    def compute_metrics(self, results: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Sum up the images; log a table of all heads.

        Raises:
            ConfigError: ``choose=False``, and the model has chosen no head.
        """
        ranks, losses = (torch.stack(column) for column in zip(*results, strict=True))
        columns = {f"top{k}": 100 * (ranks < k).double().mean(0) for k in (1, 5) if k == 1 or k < self.num_classes}
        columns["val_loss"] = losses.double().mean(0)
        rows = [{name: float(values[place]) for name, values in columns.items()} for place in range(len(self.heads))]
        index = max(range(len(rows)), key=lambda place: rows[place]["top1"]) if self.choose else self.chosen
        if index is None:
            raise ConfigError("HeadAccuracy: choose=False, and the model has chosen no head: validate with choose=True")
        scores = dict(zip(self.heads, rows, strict=True))
        MessageHub.get_current_instance().update_info(HEADS_KEY, scores)
        if len(rows) == 1:
            return rows[0]
        print_log("\n" + table(scores, self.columns, f"{len(rows)} heads of the probe"), "current")
        return {**rows[index], "head": float(index)}
