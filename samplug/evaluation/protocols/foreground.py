"""Evaluation protocols: how one image is scored and how a set is summed up, the same in test runs and for folders of files."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import cv2
import numpy as np

from samplug.evaluation import functional as F
from samplug.evaluation.functional.counts import Map, Mask
from samplug.evaluation.functional.shadow import TSSAM_THRESHOLD
from samplug.utils.errors import ConfigError, DataError

Scores = dict[str, float]


@dataclass(frozen=True)
class ImageResult:
    """What one image contributes.

    Attributes:
        scores: Its own scores; empty if it has none.
        extra: What the summary needs beside them (curves, pixel counts).
        skipped: Why the image does not count, if it does not.
    """

    scores: Scores
    extra: Mapping[str, Any] = field(default_factory=dict)
    skipped: str | None = None


@dataclass(frozen=True)
class Protocol:
    """Base of the protocols.

    Args:
        size: Side of the square that prediction (bilinear) and truth (nearest) are squashed to; None: the truth's own size.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    lower_is_better: ClassVar[frozenset[str]] = frozenset()

    size: int | None = None

    def __post_init__(self) -> None:
        self._require("size", self.size is None or self.size > 0, "a number of pixels above 0")

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise ConfigError(f"{self.name}: {name}={getattr(self, name)!r} is not {wanted}")

    def score(self, pred: Map, gt: Mask, valid: Mask | None = None) -> ImageResult:
        """Score one image.

        Args:
            pred: (H, W) uint8, 255 = certain foreground.
            gt: (H, W) bool.
            valid: (H, W) bool: pixels that count; None: all.

        Raises:
            ValueError: The maps differ in size (unless ``size`` is set), or no pixel counts.
        """
        if self.size is not None:
            shape = (self.size, self.size)
            if pred.shape != shape:
                pred = cv2.resize(pred, shape, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
            gt = _nearest(gt, shape)
            valid = None if valid is None else _nearest(valid, shape)
        if valid is not None and not valid.any():
            raise ValueError("every pixel of the truth is ignored")
        return self._score(pred, gt, valid)

    @abstractmethod
    def _score(self, pred: Map, gt: Mask, valid: Mask | None) -> ImageResult: ...

    def summarise(self, results: Sequence[ImageResult]) -> Scores:
        """Scores of a set: means over the images that have them."""
        names = dict.fromkeys(name for result in results for name in result.scores)
        return {
            name: float(np.mean([result.scores[name] for result in results if name in result.scores])) for name in names
        }


@dataclass(frozen=True)
class Saliency(Protocol):
    """Camouflaged and salient object detection: S-measure, E-measure, weighted F, F-measure, MAE.

    ``_mean`` and ``_max`` are over 256 thresholds of the curve that is averaged over the set, ``_adp`` is at twice the mean of each
    prediction.

    Args:
        size: See :class:`Protocol`.
        wf_beta2: Of the weighted F-measure; 1 in the literature, 0.3 in TS-SAM.
        mode: Of the S-measure where it is not defined, see :func:`samplug.evaluation.functional.s_measure`.
    """

    name = "saliency"
    columns = ("S", "E_mean", "E_max", "E_adp", "wF", "F_mean", "F_max", "F_adp", "MAE")
    lower_is_better = frozenset({"MAE"})

    wf_beta2: float = 1.0
    mode: Literal["standard", "tssam"] = "standard"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("wf_beta2", self.wf_beta2 > 0, "above 0")
        self._require("mode", self.mode in ("standard", "tssam"), "'standard' or 'tssam'")

    @classmethod
    def as_tssam(cls, size: int = 1024) -> "Saliency":
        """What TS-SAM and SAM-Adapter report."""
        return cls(size=size, wf_beta2=0.3, mode="tssam")

    def _score(self, pred: Map, gt: Mask, valid: Mask | None) -> ImageResult:
        if valid is not None and not valid.all():
            raise ValueError(
                "the truth has ignored pixels, which saliency measures do not know: list the value as background or foreground "
                "in mask_values, or use the overlap protocol"
            )
        counts = F.SaliencyCounts.of(pred, gt)
        e, f = F.e_curve(counts), F.f_curve(counts)
        scores = {
            "S": F.s_measure(counts, mode=self.mode),
            "E_mean": float(e.mean()),
            "E_max": float(e.max()),
            "E_adp": F.e_adaptive(counts),
            "wF": F.weighted_f(pred, gt, self.wf_beta2, counts),
            "F_mean": float(f.mean()),
            "F_max": float(f.max()),
            "F_adp": F.f_adaptive(counts),
            "MAE": F.mae(counts),
        }
        return ImageResult(scores, {"E_max": e, "F_max": f})

    def summarise(self, results: Sequence[ImageResult]) -> Scores:
        return super().summarise(results) | _curve_maxima(results)


@dataclass(frozen=True)
class Shadow(Protocol):
    """Shadow detection: balanced error rate in percent.

    A class that the truth lacks has no error rate: the rate is left out, and the image's ``BER`` is that of the other class.

    Args:
        size: See :class:`Protocol`.
        threshold: Shadow is where the prediction exceeds it.
        pooling: ``'dataset'``: rates of all pixels of the set. ``'image'``: means of the images' rates.
        mode: ``'tssam'``: TS-SAM's threshold 125/255 and mean over images. Images without shadow, or all shadow, for which its code gives NaN
            (and so for the whole set), are left out and reported as skipped.
    """

    name = "shadow"
    columns = ("BER", "BER_shadow", "BER_non_shadow")
    lower_is_better = frozenset(columns)

    threshold: float = 0.5
    pooling: Literal["dataset", "image"] = "dataset"
    mode: Literal["standard", "tssam"] = "standard"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("threshold", 0 <= self.threshold < 1, "in [0, 1)")
        self._require("mode", self.mode in ("standard", "tssam"), "'standard' or 'tssam'")
        self._require("pooling", self.pooling in ("dataset", "image"), "'dataset' or 'image'")
        if self.mode == "tssam" and self.threshold != 0.5:
            raise ConfigError(
                f"shadow: mode='tssam' has its own threshold 125/255; threshold={self.threshold} has no effect"
            )

    @classmethod
    def as_tssam(cls, size: int = 1024) -> "Shadow":
        """What TS-SAM and SAM-Adapter report."""
        return cls(size=size, mode="tssam")

    def _score(self, pred: Map, gt: Mask, valid: Mask | None) -> ImageResult:
        threshold = TSSAM_THRESHOLD if self.mode == "tssam" else self.threshold
        confusion = F.Confusion.of(F.LevelCounts.of(pred, gt, valid), threshold)
        if self.mode == "tssam" and not confusion.has_both:
            return ImageResult({}, skipped="BER as in TS-SAM is not defined without both shadow and lit pixels")
        return ImageResult(confusion.error_rates(), {"confusion": confusion})

    def summarise(self, results: Sequence[ImageResult]) -> Scores:
        confusions = [result.extra["confusion"] for result in results if "confusion" in result.extra]
        if self.pooling == "image" or self.mode == "tssam" or not confusions:
            return super().summarise(results)
        return sum(confusions[1:], start=confusions[0]).error_rates()


@dataclass(frozen=True)
class Overlap(Protocol):
    """Overlap of foreground maps, means over images.

    ``Dice`` ``IoU`` ``Acc`` ``Sensitivity`` ``Precision`` at one threshold (1 where truth and prediction are both empty), ``BIoU`` of the
    boundaries, and over 256 thresholds of the stretched prediction the mean ``mDice`` ``mIoU`` of polyp papers and the maximum
    ``maxDice`` ``maxIoU`` of the averaged curve.

    Args:
        size: See :class:`Protocol`.
        threshold: Foreground is where the prediction exceeds it.
    """

    name = "overlap"
    columns = (
        "Dice", "IoU", "Acc", "Sensitivity", "Precision", "BIoU", "mDice", "mIoU", "maxDice", "maxIoU",
    )  # fmt: skip

    threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("threshold", 0 <= self.threshold < 1, "in [0, 1)")

    def _score(self, pred: Map, gt: Mask, valid: Mask | None) -> ImageResult:
        counts = F.LevelCounts.of(pred, gt, valid)
        dice, iou = F.dice_curve(counts), F.iou_curve(counts)
        scores = F.overlap_scores(counts, self.threshold) | {
            "BIoU": F.boundary_iou(pred > 255 * self.threshold, gt, valid=valid),
            "mDice": float(dice.mean()),
            "mIoU": float(iou.mean()),
            "maxDice": float(dice.max()),
            "maxIoU": float(iou.max()),
        }
        return ImageResult(scores, {"maxDice": dice, "maxIoU": iou})

    def summarise(self, results: Sequence[ImageResult]) -> Scores:
        return super().summarise(results) | _curve_maxima(results)


PROTOCOLS: dict[str, type[Protocol]] = {cls.name: cls for cls in (Saliency, Shadow, Overlap)}


def score_image(protocol: Protocol, name: str, pred: Map, gt: Mask, valid: Mask | None = None) -> ImageResult:
    """:meth:`Protocol.score` whose errors name the image; here so that worker processes need not import torch.

    Raises:
        DataError: The maps cannot be scored.
    """
    try:
        return protocol.score(pred, gt, valid)
    except ValueError as error:
        raise DataError(f"{protocol.name}: {name}: {error}") from error


def _curve_maxima(results: Sequence[ImageResult]) -> Scores:
    """The maximum of each curve after averaging over the images."""
    if not results:
        return {}
    return {name: float(np.mean([result.extra[name] for result in results], axis=0).max()) for name in results[0].extra}


def _nearest(mask: Mask, shape: tuple[int, int]) -> Mask:
    # "Exact" takes pixel centres, as Pillow does; plain INTER_NEAREST shifts by half a pixel.
    return cv2.resize(mask.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT).view(np.bool_)
