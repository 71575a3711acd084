"""Protocols over a foreground map and its ground truth: saliency, shadow, overlap."""

import ast
from abc import abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.datasets.mask_values import MaskSpec, MaskValues, decide_mask_values
from samplug.evaluation import functional as F
from samplug.evaluation.baselines import BASELINES, NEEDS_IMAGE
from samplug.evaluation.functional.counts import Map, Mask
from samplug.evaluation.functional.shadow import TSSAM_THRESHOLD
from samplug.evaluation.protocols.base import (
    BASELINE_PREFIX,
    FileProtocol,
    Files,
    GroundTruths,
    ImageResult,
    Predictions,
    Scores,
    list_samples,
    register_protocol,
)
from samplug.imaging.files import read_image, read_mask
from samplug.utils.errors import ConfigError, DataError

_SAMPLED = 32

Labels = NDArray[np.uint8] | Mask
"""(H, W) labels: 1 = foreground, 0 = background, 255 = ignored; a bool mask has no ignored pixels."""


@dataclass(frozen=True)
class ForegroundProtocol(FileProtocol[Map, Labels]):
    """Base of the protocols over a foreground map.

    Predictions in folders are grey maps, 255 = certain foreground (0/1 maps and 16 bits are rescaled), or
    ``baseline:NAME`` (:data:`samplug.evaluation.baselines.BASELINES`).

    Args:
        size: Side of the square that prediction (bilinear) and ground truth (nearest) are squashed to; None: the ground
            truth's own size.
        mask_values: Meaning of the values in mask files, see :class:`samplug.datasets.mask_values.MaskValues`;
            ``'auto'``: 0/1 or 0/255.
        resize: Resize prediction files of another size to the ground truth's (bilinear); otherwise they are an error.
        images: Folder of the images, for baselines that look at them.
    """

    size: int | None = None
    mask_values: MaskSpec | Literal["auto"] = field(default="auto", kw_only=True)
    resize: bool = field(default=False, kw_only=True)
    images: str | Path | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self._require("size", self.size is None or self.size > 0, "a number of pixels above 0")
        if self.mask_values != "auto":
            MaskValues.parse(self.mask_values)

    def score(self, pred: Map, ground_truth: Labels) -> ImageResult:
        """Score one image.

        Args:
            pred: (H, W) uint8, 255 = certain foreground.
            ground_truth: (H, W) labels: 1 or True = foreground, 0 = background, 255 = ignored.

        Raises:
            ValueError: The maps differ in size (unless ``size`` is set), or no pixel counts.
        """
        gt, ignored = ground_truth == 1, ground_truth == 255
        valid = ~ignored if ignored.any() else None
        if self.size is not None:
            shape = (self.size, self.size)
            if pred.shape != shape:
                pred = cv2.resize(pred, shape, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
            gt = _nearest(gt, shape)
            valid = None if valid is None else _nearest(valid, shape)
        if valid is not None and not valid.any():
            raise ValueError("every pixel of the ground truth is ignored")
        return self._score(pred, gt, valid)

    @abstractmethod
    def _score(self, pred: Map, gt: Mask, valid: Mask | None) -> ImageResult:
        """Score maps of one size; ``valid`` marks the pixels that count, None: all."""

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        names = ", ".join(f"{BASELINE_PREFIX}{name}" for name in BASELINES)
        parser.add_argument(
            "--images",
            metavar="DIR",
            help=f"images, for baselines that look at them; --pred and --compare take {names} too",
        )
        parser.add_argument(
            "--mask-values",
            default="auto",
            help="'auto', '0/255', '0/1', a colour rule, or dict(foreground=[1, 2], ignore=[255])",
        )
        parser.add_argument(
            "--resize", action="store_true", help="resize predictions of another size to the ground truth's"
        )

    @classmethod
    def from_args(cls, args: Namespace) -> Self:
        values = {**vars(args), "mask_values": _parse_mask_values(args.mask_values)}
        if "size" in values:
            values["size"] = _parse_size(args.size)
        return super().from_args(Namespace(**values))

    def conditions(self) -> str:
        where = f"squashed to {self.size}x{self.size}" if self.size else "at the ground truth's size"
        return f"scored {where}"

    def find_ground_truths(
        self, folder: str | Path, suffix: str | None = None, recursive: bool = False
    ) -> GroundTruths[Labels]:
        found = super().find_ground_truths(folder, suffix, recursive)
        spec = self.mask_values
        if spec == "auto":
            masks = [path for (path,) in found.files.values()]
            spec = decide_mask_values(masks[:: max(1, len(masks) // _SAMPLED)])
        return GroundTruths(found.folder, found.files, partial(_read_labels, spec=spec), recursive)

    def find_predictions(
        self, source: str, ground_truths: GroundTruths[Labels], suffix: str | None = None, name: str | None = None
    ) -> Predictions[Map, Labels]:
        """List the predictions in a folder, or take ``baseline:NAME``.

        Raises:
            DataError: The folder cannot be read, holds no images, or two of one name.
            ConfigError: The baseline is unknown, or looks at images and there are none.
        """
        if source.startswith(BASELINE_PREFIX):
            return self._find_baseline(source, ground_truths, name)
        found = super().find_predictions(source, ground_truths, suffix, name)
        scale = _scale(found.files)
        note = "predictions hold 0 and 1, taken as 0 and 255" if scale > 1 else ""
        read = partial(_read_map, scale=scale, resize=self.resize, any_size=self.size is not None)
        return Predictions(found.source, found.name, found.files, read, note)

    def _find_baseline(
        self, source: str, ground_truths: GroundTruths[Labels], name: str | None
    ) -> Predictions[Map, Labels]:
        baseline = source.removeprefix(BASELINE_PREFIX)
        if baseline not in BASELINES:
            raise ConfigError(f"evaluate: there is no baseline {baseline!r}; there are {', '.join(BASELINES)}")
        files = ground_truths.files
        if baseline in NEEDS_IMAGE:
            if not self.images:
                raise ConfigError(
                    f"evaluate: the baseline {baseline} looks at the images: name their folder with --images"
                )
            images = list_samples(Path(self.images).expanduser(), None, ground_truths.recursive)
            files = {key: value for key, value in images.items() if key in files}
        return Predictions(source, name or baseline, files, partial(_predict_baseline, baseline=baseline))

    def read_ground_truth(self, files: Files) -> Labels:
        if self.mask_values == "auto":
            raise ConfigError("evaluate: mask_values='auto' is decided for a folder: use find_ground_truths")
        return _read_labels(files, self.mask_values)

    def read_prediction(self, files: Files, ground_truth: Labels) -> Map:
        return _read_map(files, ground_truth, 1, self.resize, self.size is not None)


def _add_size(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--size", default="native", help="'native' (default), or the side of the square to squash to, as 1024"
    )


def _add_threshold(parser: ArgumentParser) -> None:
    parser.add_argument("--threshold", type=float, default=0.5, help="foreground is where the prediction exceeds it")


def _add_mode(parser: ArgumentParser, tssam: str) -> None:
    parser.add_argument("--mode", choices=["standard", "tssam"], default="standard", help=f"tssam: {tssam}")


def _read_labels(files: Files, spec: MaskSpec) -> Labels:
    (path,) = files
    return MaskValues.parse(spec).labels(read_mask(path), path)


def _read_map(files: Files, ground_truth: Labels, scale: int, resize: bool, any_size: bool) -> Map:
    """Read a grey map as (H, W) uint8.

    Args:
        files: The file.
        ground_truth: (H, W), the size that the map must have.
        scale: 255 for folders of 0/1 maps, otherwise 1.
        resize: Resize a map of another size.
        any_size: Leave a map of another size as it is.

    Raises:
        DataError: The file is no such map, or has another size.
    """
    (path,) = files
    values: NDArray[Any] = read_mask(path)
    if values.ndim == 3:
        raise DataError(f"the prediction {path} is a colour picture: save grey maps, 255 = certain foreground")
    if scale > 1 and values.max() > 1:
        raise DataError(
            f"the prediction {path} has values up to {values.max()} among predictions of 0 and 1: save all as 0..255"
        )
    if values.dtype == np.uint16:
        values = (values if scale > 1 else np.round(values / 257)).astype(np.uint8)
    values = values * np.uint8(scale)
    if values.shape == ground_truth.shape or any_size:
        return values
    if not resize:
        (height, width), (gt_height, gt_width) = values.shape, ground_truth.shape
        raise DataError(
            f"the prediction {path} is {width}x{height}, its ground truth {gt_width}x{gt_height}: save predictions at "
            "the ground truth's size, or pass --resize"
        )
    return cv2.resize(values, ground_truth.shape[::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _predict_baseline(files: Files, ground_truth: Labels, baseline: str) -> Map:
    """Predict from the image, or from the ground truth's size where the baseline needs no more."""
    if baseline in NEEDS_IMAGE:
        return BASELINES[baseline](read_image(files[0]))
    return BASELINES[baseline](np.zeros((*ground_truth.shape, 3), np.uint8))


def _scale(samples: Mapping[str, Files]) -> int:
    """Return 255 for folders of 0/1 maps, whose highest value in a part of the files is 1; otherwise 1."""
    highest = 0
    for (path,) in list(samples.values())[:: max(1, len(samples) // _SAMPLED)]:
        try:
            highest = max(highest, int(read_mask(path).max()))
        except DataError:  # reported with its name when its turn comes
            continue
    return 255 if highest == 1 else 1


def _parse_size(text: str) -> int | None:
    if text == "native":
        return None
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ConfigError(f"evaluate: --size {text} is neither 'native' nor a number of pixels")
    return int(text)


def _parse_mask_values(text: str) -> Any:
    """Return the name of a rule as it is, and a literal ``dict(...)`` or ``{...}`` as a dict."""
    if not text.startswith(("dict(", "{")):
        return text
    try:
        tree = ast.parse(text, mode="eval").body
        if isinstance(tree, ast.Call):
            return {keyword.arg: ast.literal_eval(keyword.value) for keyword in tree.keywords}
        return ast.literal_eval(tree)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(f"evaluate: --mask-values {text} is no dict of lists of values") from error


@register_protocol
@dataclass(frozen=True)
class Saliency(ForegroundProtocol):
    """Camouflaged and salient object detection: S-measure, E-measure, weighted F, F-measure, MAE.

    ``_mean`` and ``_max`` are over 256 thresholds of the curve that is averaged over the set, ``_adp`` is at twice the
    mean of each prediction.

    Args:
        size: See :class:`ForegroundProtocol`, also for the other arguments.
        wf_beta2: beta squared of the weighted F-measure; 1 in the literature, 0.3 in TS-SAM.
        mode: Value of the S-measure where it is not defined, see :func:`samplug.evaluation.functional.s_measure`.
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
    def add_arguments(cls, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        _add_size(parser)
        parser.add_argument("--wf-beta2", type=float, default=1.0, help="1 in the literature (default), 0.3 in TS-SAM")
        _add_mode(
            parser, "S-measure 0 where TS-SAM's code meets NaN; its row of scores: add --size 1024 --wf-beta2 0.3"
        )

    def _score(self, pred: Map, gt: Mask, valid: Mask | None) -> ImageResult:
        if valid is not None and not valid.all():
            raise ValueError(
                "the ground truth has ignored pixels, which saliency measures do not allow: list the value as "
                "background or foreground in mask_values, or use the overlap protocol"
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


@register_protocol
@dataclass(frozen=True)
class Shadow(ForegroundProtocol):
    """Shadow detection: balanced error rate in percent.

    A class that is absent from the ground truth has no error rate: the rate is left out, and the image's ``BER`` is the
    other class's rate.

    Args:
        size: See :class:`ForegroundProtocol`, also for the other arguments.
        threshold: Shadow is where the prediction exceeds it.
        pooling: ``'dataset'``: rates of all pixels of the set. ``'image'``: means of the images' rates.
        mode: ``'tssam'``: TS-SAM's threshold 125/255 and mean over images. Images without shadow, or all shadow, for
            which its code gives NaN (and so for the whole set), are left out and reported as skipped.
    """

    name = "shadow"
    columns = ("BER", "BER_shadow", "BER_non_shadow")
    lower_is_better = frozenset(columns)
    decimals = 2

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
    def add_arguments(cls, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        _add_size(parser)
        _add_threshold(parser)
        parser.add_argument(
            "--pooling",
            choices=["dataset", "image"],
            default="dataset",
            help="rates of all pixels, or means over images",
        )
        _add_mode(parser, "threshold 125/255 and mean over images; TS-SAM's row of scores: add --size 1024")

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


@register_protocol
@dataclass(frozen=True)
class Overlap(ForegroundProtocol):
    """Overlap of foreground maps, means over images.

    ``Dice`` ``IoU`` ``Acc`` ``Sensitivity`` ``Precision`` at one threshold (1 where ground truth and prediction are
    both empty), ``BIoU`` of the boundaries, and over 256 thresholds of the stretched prediction the mean ``mDice``
    ``mIoU`` of polyp papers and the maximum ``maxDice`` ``maxIoU`` of the averaged curve.

    Args:
        size: See :class:`ForegroundProtocol`, also for the other arguments.
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

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        _add_threshold(parser)

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


def _curve_maxima(results: Sequence[ImageResult]) -> Scores:
    """Return the maximum of each curve after averaging over the images."""
    if not results:
        return {}
    return {name: float(np.mean([result.extra[name] for result in results], axis=0).max()) for name in results[0].extra}


def _nearest(mask: Mask, shape: tuple[int, int]) -> Mask:
    # INTER_NEAREST_EXACT samples at pixel centres, as Pillow does; INTER_NEAREST shifts by half a pixel.
    return cv2.resize(mask.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT).view(np.bool_)
