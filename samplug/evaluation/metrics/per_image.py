"""MMEngine metrics that score each image on its own: thin wrappers around the protocols."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, collect_results, get_world_size, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from numpy.typing import NDArray
from torch import Tensor

from samplug.evaluation.protocols import ImageResult, Overlap, Protocol, Saliency, Scores, Shadow, score_image
from samplug.evaluation.report import Report, table
from samplug.evaluation.scoring_pool import ScoringPool
from samplug.registry import METRICS
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.foreground import foreground_logits

AS_TSSAM = "tssam"

# Set, row ('' or AS_TSSAM), image.
_Key = tuple[str, str, str]


class PerImageMetric(BaseMetric):
    """Base of metrics over a foreground map and its truth.

    A prediction is scored as the map that would be saved: sigmoid of the logits at the truth's size, ``round(255 p)``, uint8. Segmentors of
    mmseg with one output hand over probabilities, which are recognised (:func:`samplug.utils.foreground.foreground_logits`).
    Images that a distributed sampler padded with count once. Several sets (``dataset_name`` of the samples) have their own rows:
    ``SET/S``. Where the model hands over ``frame_logits``, as TS-SAM does, a second row ``tssam/S`` scores these in the model's
    square frame as TS-SAM's own evaluation does.

    Scoring happens in worker processes while the model goes on; an image leaves its scores and curves behind (some kilobytes).

    Args:
        protocol: How images are scored.
        as_tssam: Protocol of the second row, given the side of the frame.
        out_file: json of all scores: ``{"protocol", "summary", "images", "skipped"}``; with several sets ``out.SET.json`` each.
        workers: See :class:`ScoringPool`.
        collect_device: Passed to MMEngine.
        prefix: Put before the metric names, ``prefix/S``.
    """

    default_prefix = ""  # names are unique without one; None would make MMEngine warn

    def __init__(
        self,
        protocol: Protocol,
        as_tssam: Any,
        out_file: str | None = None,
        workers: int | Literal["auto"] = "auto",
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.protocol = protocol
        self.as_tssam = as_tssam
        self.out_file = out_file
        self.pool: ScoringPool[_Key, ImageResult] = ScoringPool(workers)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        for sample in data_samples:
            name = sample["img_path"]
            try:
                decision = sample["pred_sem_seg"]["data"] if "pred_sem_seg" in sample else None
                logits = foreground_logits(sample["seg_logits"]["data"], decision)
                pred, gt, valid = foreground_map(logits), *ground_truth_map(sample)
            except DataError as error:
                raise DataError(f"{type(self).__name__}: {name}: {error}") from error
            if self.protocol.size is None and pred.shape != gt.shape:
                raise ConfigError(
                    f"{type(self).__name__}: prediction {pred.shape} and truth {gt.shape} of {name} differ in size"
                )
            self._submit("", sample, self.protocol, pred, gt, valid)
            if self.as_tssam and "frame_logits" in sample:
                frame = foreground_map(sample["frame_logits"])
                self._submit(AS_TSSAM, sample, self.as_tssam(frame.shape[0]), frame, gt, valid)

    def _submit(self, row: str, sample: Mapping[str, Any], protocol: Protocol, *maps: Any) -> None:
        name = sample["img_path"]
        # A repeated key replaces its result: what an evaluation that was broken off left behind does not survive the next one.
        self.pool.submit((sample.get("dataset_name") or "", row, name), score_image, protocol, name, *maps)

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather all ranks' results and sum them up.

        Args:
            size: Number of images in the data set.

        Returns:
            Metric -> value, the same on every rank.
        """
        gathered = collect_results([self.pool.finish()], get_world_size(), self.collect_device)
        metrics: list[Any] = [None]
        if is_main_process():
            results: dict[_Key, ImageResult] = {}
            for part in gathered:
                results.update(part)
            scores = self.compute_metrics(list(results.items()), size)
            metrics = [{f"{self.prefix}/{name}" if self.prefix else name: value for name, value in scores.items()}]
        broadcast_object_list(metrics)
        return metrics[0]

    def compute_metrics(self, results: list[tuple[_Key, ImageResult]], size: int | None = None) -> Scores:
        """Sum up, print a table with a row for each set, and write ``out_file``."""
        sets: dict[str, dict[str, dict[str, ImageResult]]] = {}
        for (name, row, image), result in results:
            sets.setdefault(name, {}).setdefault(row, {})[image] = result
        scored = sum(len({self.image_of(row) for row in rows[""]}) for rows in sets.values())
        if size is not None and scored != size:
            print_log(
                f"{type(self).__name__}: {scored} different images were scored, the data set has {size} samples",
                "current",
                30,
            )
        reports: dict[str, Report] = {}
        printed: dict[str, Scores] = {}
        metrics: Scores = {}
        for name, rows in sorted(sets.items()):
            report = self._report(rows)
            for metric, value in report.summary.items():
                metrics[f"{name}/{metric}" if len(sets) > 1 else metric] = value
            for row in rows:
                part = {
                    m.rpartition("/")[2]: v for m, v in report.summary.items() if m.startswith(AS_TSSAM) == bool(row)
                }
                printed[(name or "test set") if not row else f"{name or 'test set'}, as TS-SAM"] = part
            reports[name] = report
        print_log("\n" + table(printed, self.protocol.columns, self.protocol.name), "current")
        if self.out_file:  # last: the table is there even if it cannot be written
            target = Path(self.out_file)
            for name, report in reports.items():
                report.write_json(
                    target.with_suffix(f".{name.replace('/', '_')}{target.suffix}") if len(sets) > 1 else target
                )
        return metrics

    @staticmethod
    def image_of(row: str) -> str:
        """The image that a row of ``out_file`` is about."""
        return row

    def _report(self, rows: Mapping[str, Mapping[str, ImageResult]]) -> Report:
        """One set's report; names of the second row's metrics begin with ``tssam/``."""
        report = Report.of(self.protocol, rows[""])
        if AS_TSSAM not in rows:
            return report
        second = Report.of(self.as_tssam(), rows[AS_TSSAM])

        def prefixed(scores: Scores) -> Scores:
            return {f"{AS_TSSAM}/{name}": value for name, value in scores.items()}

        return dataclasses.replace(
            report,
            summary=report.summary | prefixed(second.summary),
            images={name: scores | prefixed(second.images.get(name, {})) for name, scores in report.images.items()},
            skipped={**report.skipped, **{f"{AS_TSSAM}/{name}": why for name, why in second.skipped.items()}},
        )


@METRICS.register_module()
class SaliencyMetric(PerImageMetric):
    """``S`` ``E_mean`` ``E_max`` ``E_adp`` ``wF`` ``F_mean`` ``F_max`` ``F_adp`` ``MAE``, see :class:`Saliency`.

    Args:
        size: Side of the square that is scored; None: the truth's own size.
        wf_beta2: Of the weighted F-measure.
        **kwargs: See :class:`PerImageMetric`.
    """

    def __init__(self, size: int | None = None, wf_beta2: float = 1.0, **kwargs: Any) -> None:
        super().__init__(Saliency(size=size, wf_beta2=wf_beta2), Saliency.as_tssam, **kwargs)


@METRICS.register_module()
class BERMetric(PerImageMetric):
    """``BER`` ``BER_shadow`` ``BER_non_shadow`` in percent, see :class:`Shadow`.

    Args:
        threshold: Shadow is where the probability exceeds it.
        pooling: ``'dataset'``: rates of all pixels; ``'image'``: means over images.
        mode: ``'tssam'``: TS-SAM's threshold and averaging at the truth's size.
        **kwargs: See :class:`PerImageMetric`.
    """

    def __init__(
        self,
        threshold: float = 0.5,
        pooling: Literal["dataset", "image"] = "dataset",
        mode: Literal["standard", "tssam"] = "standard",
        **kwargs: Any,
    ) -> None:
        super().__init__(Shadow(threshold=threshold, pooling=pooling, mode=mode), Shadow.as_tssam, **kwargs)


@METRICS.register_module()
class OverlapMetric(PerImageMetric):
    """``Dice`` ``IoU`` ``Acc`` ``Sensitivity`` ``Precision`` ``BIoU`` ``mDice`` ``mIoU`` ``maxDice`` ``maxIoU``, see :class:`Overlap`.

    Args:
        threshold: Foreground is where the probability exceeds it.
        **kwargs: See :class:`PerImageMetric`.
    """

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(Overlap(threshold=threshold), None, **kwargs)


def foreground_map(logits: Tensor) -> NDArray[np.uint8]:
    """The foreground map (H, W) uint8 of binary logits (1, H, W).

    Raises:
        ConfigError: The logits are those of several classes.
        DataError: They hold NaN, which would be scored as background.
    """
    if logits.shape[0] != 1:
        raise ConfigError(
            f"a foreground metric needs one logit per pixel, got {logits.shape[0]} classes: use mmseg.IoUMetric"
        )
    if logits.isnan().any():
        raise DataError("the model's logits hold NaN: its weights, or its precision, are broken")
    return (logits[0].float().sigmoid() * 255).round().to(torch.uint8).cpu().numpy()


def ground_truth_map(sample: Mapping[str, Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """The true foreground (H, W) bool of a data sample with ``gt_sem_seg`` (1, H, W), and where it is known (None: everywhere).

    Labels: 1 foreground, 0 background, 255 ignored.

    Raises:
        DataError: There are other labels, or there is no truth.
    """
    if "gt_sem_seg" not in sample:
        raise DataError("there is no truth to score with: put LoadBinaryMask into the test pipeline, or use no metric")
    labels = sample["gt_sem_seg"]["data"][0].cpu().numpy()
    foreground, ignored = labels == 1, labels == 255
    if (other := ~(foreground | ignored | (labels == 0))).any():
        raise DataError(
            f"the truth has the label {labels[other][0]}, a foreground metric knows 0, 1 and 255 (ignored): load it by LoadBinaryMask"
        )
    return foreground, ~ignored if ignored.any() else None
