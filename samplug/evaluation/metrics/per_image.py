"""MMEngine metrics that score each image on its own with a protocol."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, collect_results, get_world_size, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from numpy.typing import NDArray
from torch import Tensor

from samplug.evaluation.functional.counts import Map
from samplug.evaluation.protocols import (
    ForegroundProtocol,
    ImageResult,
    Labels,
    Overlap,
    Protocol,
    Saliency,
    Scores,
    Shadow,
    score_image,
)
from samplug.evaluation.report import Report, table
from samplug.evaluation.scoring_pool import ScoringPool
from samplug.registry import METRICS
from samplug.utils.errors import ConfigError, DataError, check_choice
from samplug.utils.model_outputs import Outputs, as_logits, check_logits, check_outputs


class PerImageMetric(BaseMetric):
    """Base of metrics that score each image with a protocol.

    Images that a distributed sampler repeats count once. Scores are computed in worker processes while the model
    continues; only the scores and curves of an image are kept (some kilobytes).

    Args:
        protocol: Protocol to score with.
        out_file: JSON file of all scores, ``{"protocol", "summary", "images", "skipped"}``; one file ``out.SET.json``
            for each of several sets (:class:`samplug.evaluation.sets_evaluator.SetsEvaluator`).
        workers: Number of worker processes, see :class:`ScoringPool`.
        label: Addition to the name of the row in the printed table; None: the prefix.
        collect_device: Device on which MMEngine gathers the results of all ranks.
        prefix: Text before the metric names, ``prefix/S``.
    """

    default_prefix = ""  # None would make MMEngine warn

    def __init__(
        self,
        protocol: Protocol[Any, Any],
        out_file: str | None = None,
        workers: int | Literal["auto"] = "auto",
        label: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.protocol = protocol
        self.out_file = out_file
        self.label = self.prefix if label is None else label
        self.pool: ScoringPool[str, ImageResult] = ScoringPool(workers)
        self.publishes = True  # a SetsEvaluator prints one table for all of its metrics, then calls write_report
        self.report: Report | None = None
        self.facts: dict[str, Any] = {}  # further entries of the JSON file

    def submit(self, name: str, pred: Any, ground_truth: Any, protocol: Protocol[Any, Any] | None = None) -> None:
        """Score a sample in a worker.

        Args:
            name: Name in the report; it replaces an earlier result of this name, such as that of an aborted run.
            pred: Prediction that the protocol takes.
            ground_truth: Ground truth that the protocol takes.
            protocol: None: the metric's.
        """
        self.pool.submit(name, score_image, protocol or self.protocol, name, pred, ground_truth)

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the results of all ranks and sum them up.

        Args:
            size: Number of images in the set.

        Returns:
            Metric -> value, the same on every rank.
        """
        gathered = collect_results([self.pool.finish()], get_world_size(), self.collect_device)
        metrics: list[Any] = [None]
        if is_main_process():
            results: dict[str, ImageResult] = {}
            for part in gathered:
                results.update(part)
            scored = len({self.image_of(name) for name in results})
            if scored != size:
                print_log(
                    f"{type(self).__name__}: {scored} different images were scored, the data set has {size} samples",
                    "current",
                    30,
                )
            scores = self.compute_metrics(list(results.items()))
            metrics = [{f"{self.prefix}/{name}" if self.prefix else name: value for name, value in scores.items()}]
        broadcast_object_list(metrics)
        return metrics[0]

    def compute_metrics(self, results: list[tuple[str, ImageResult]]) -> Scores:
        """Sum up the samples; print a table and write ``out_file`` unless an evaluator does."""
        report = Report.of(self.protocol, dict(results))
        self.report = dataclasses.replace(report, details={**report.details, **self.facts})
        if self.publishes:
            summary = {self.label or "test set": self.report.summary, **self.protocol.published_rows()}
            title, columns, decimals = self.protocol.name, self.protocol.columns, self.protocol.decimals
            print_log("\n" + table(summary, columns, title, decimals), "current")
            self.write_report()
        return dict(self.report.summary)

    def write_report(self) -> None:
        """Write ``out_file``, if there is one and this is the main process.

        Raises:
            DataError: It cannot be written.
        """
        if self.out_file and self.report is not None and is_main_process():
            self.report.write_json(self.out_file)

    @staticmethod
    def image_of(name: str) -> str:
        """Return the image that a sample of the report belongs to."""
        return name


class ForegroundMetric(PerImageMetric):
    """Base of metrics over a foreground map and its ground truth.

    A prediction is scored as the map that would be saved: sigmoid of the logits at the ground truth's size, ``round(255
    p)``, uint8.

    Args:
        protocol: Protocol over foreground maps.
        source: ``'original'``: ``seg_logits`` at the size of the image. ``'input'``: ``frame_logits`` at the size of
            the model's square input, with the ground truth squashed to it (nearest); images without them (padded
            inputs, test-time augmentation) are not scored.
        outputs: Kind of the model's output, ``'logits'`` or ``'probabilities'``. None: SamplugRunner sets it
            (:func:`samplug.utils.model_outputs.outputs_of`); in another runner the output must be logits, and values
            that look like probabilities are an error.
        foreground_class: Index of the foreground among the two classes of a softmax head, whose difference of logits is
            scored; None: the model has one logit per pixel.
        **kwargs: See :class:`PerImageMetric`.
    """

    def __init__(
        self,
        protocol: ForegroundProtocol,
        source: Literal["original", "input"] = "original",
        outputs: Outputs | None = None,
        foreground_class: Literal[0, 1] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(protocol, **kwargs)
        check_choice(type(self).__name__, "source", source, ("original", "input"))
        check_choice(type(self).__name__, "foreground_class", foreground_class, (None, 0, 1))
        if outputs is not None:
            check_outputs(type(self).__name__, outputs)
        if source == "input" and protocol.size is not None:
            raise ConfigError(
                f"{type(self).__name__}: source='input' has the size of the input: leave out size={protocol.size}"
            )
        self.protocol: ForegroundProtocol
        self.source, self.outputs, self.foreground_class = source, outputs, foreground_class

    def declare_outputs(self, outputs: Outputs) -> None:
        """Set the kind of the model's output; the argument ``outputs`` of the metric takes precedence."""
        self.outputs = self.outputs or outputs

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        for sample in data_samples:
            name = sample["img_path"]
            try:
                self._process_sample(name, sample)
            except DataError as error:
                raise DataError(f"{type(self).__name__}: {name}: {error}") from error

    def _process_sample(self, name: str, sample: Mapping[str, Any]) -> None:
        if self.source == "input":
            if "frame_logits" in sample:
                pred = foreground_map(self._logits(sample["frame_logits"], None))
                protocol = dataclasses.replace(self.protocol, size=pred.shape[0])
                self.submit(name, pred, ground_truth_map(sample), protocol)
            return
        decision = sample["pred_sem_seg"]["data"] if "pred_sem_seg" in sample else None
        pred = foreground_map(self._logits(sample["seg_logits"]["data"], decision))
        ground_truth = ground_truth_map(sample)
        if self.protocol.size is None and pred.shape != ground_truth.shape:
            raise ConfigError(
                f"{type(self).__name__}: prediction {pred.shape} and ground truth {ground_truth.shape} of {name} "
                "differ in size"
            )
        self.submit(name, pred, ground_truth)

    def _logits(self, output: Tensor, decision: Tensor | None) -> Tensor:
        if self.outputs is None:
            check_logits(type(self).__name__, output, decision)
        logits = as_logits(output, self.outputs or "logits")
        if self.foreground_class is None:
            return logits
        if len(logits) != 2:
            raise ConfigError(
                f"{type(self).__name__}: foreground_class={self.foreground_class} is for two classes, the model has "
                f"{len(logits)}"
            )
        return (logits[self.foreground_class] - logits[1 - self.foreground_class])[None]


@METRICS.register_module()
class SaliencyMetric(ForegroundMetric):
    """``S`` ``E_mean`` ``E_max`` ``E_adp`` ``wF`` ``F_mean`` ``F_max`` ``F_adp`` ``MAE``, see :class:`Saliency`.

    Scores as TS-SAM reports them: ``dict(type='SaliencyMetric', source='input', mode='tssam', wf_beta2=0.3,
    prefix='tssam')``.

    Args:
        size: Side of the square that is scored; None: the ground truth's own size.
        wf_beta2: beta squared of the weighted F-measure.
        mode: ``'tssam'``: the S-measure is 0 where TS-SAM's code meets NaN.
        **kwargs: See :class:`ForegroundMetric`.
    """

    def __init__(
        self,
        size: int | None = None,
        wf_beta2: float = 1.0,
        mode: Literal["standard", "tssam"] = "standard",
        **kwargs: Any,
    ) -> None:
        super().__init__(Saliency(size=size, wf_beta2=wf_beta2, mode=mode), **kwargs)


@METRICS.register_module()
class BERMetric(ForegroundMetric):
    """``BER`` ``BER_shadow`` ``BER_non_shadow`` in percent, see :class:`Shadow`.

    Scores as TS-SAM reports them: ``dict(type='BERMetric', source='input', mode='tssam', prefix='tssam')``.

    Args:
        threshold: Shadow is where the probability exceeds it.
        pooling: ``'dataset'``: rates of all pixels; ``'image'``: means over images.
        mode: ``'tssam'``: threshold 125/255 and means over images, as TS-SAM, at the size given by ``source``.
        **kwargs: See :class:`ForegroundMetric`.
    """

    def __init__(
        self,
        threshold: float = 0.5,
        pooling: Literal["dataset", "image"] = "dataset",
        mode: Literal["standard", "tssam"] = "standard",
        **kwargs: Any,
    ) -> None:
        super().__init__(Shadow(threshold=threshold, pooling=pooling, mode=mode), **kwargs)


@METRICS.register_module()
class OverlapMetric(ForegroundMetric):
    """Metric of the overlap of foreground maps, see :class:`Overlap`.

    Its scores are ``Dice`` ``IoU`` ``Acc`` ``Sensitivity`` ``Precision`` ``BIoU`` ``mDice`` ``mIoU`` ``maxDice`` and
    ``maxIoU``.

    Args:
        threshold: Foreground is where the probability exceeds it.
        **kwargs: See :class:`ForegroundMetric`.
    """

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(Overlap(threshold=threshold), **kwargs)


def foreground_map(logits: Tensor) -> Map:
    """Convert binary logits (1, H, W) to a foreground map (H, W) uint8, 255 = certain.

    Raises:
        ConfigError: The logits are those of several classes.
        DataError: They hold NaN, which would be scored as background.
    """
    if logits.shape[0] != 1:
        raise ConfigError(
            f"a foreground metric needs one logit per pixel, got {logits.shape[0]} classes: use mmseg.IoUMetric, or "
            "for two classes foreground_class=1"
        )
    if logits.isnan().any():
        raise DataError("the model's logits hold NaN: check its weights and its precision")
    return (logits[0].float().sigmoid() * 255).round().to(torch.uint8).cpu().numpy()


def ground_truth_map(sample: Mapping[str, Any]) -> Labels:
    """Return the labels (H, W) uint8 of a data sample with ``gt_sem_seg`` (1, H, W).

    Labels are 1 = foreground, 0 = background, 255 = ignored.

    Raises:
        DataError: There are other labels, or there is no ground truth.
    """
    if "gt_sem_seg" not in sample:
        raise DataError(
            "there is no ground truth to score with: put LoadBinaryMask into the test pipeline, or use no metric"
        )
    labels: NDArray[Any] = sample["gt_sem_seg"]["data"][0].cpu().numpy()
    if (other := (labels != 0) & (labels != 1) & (labels != 255)).any():
        raise DataError(
            f"the ground truth has the label {labels[other][0]}, a foreground metric knows 0, 1 and 255 (ignored): "
            "load it by LoadBinaryMask"
        )
    return labels.astype(np.uint8)
