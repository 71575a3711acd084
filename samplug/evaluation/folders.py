"""Scoring folders of predictions against folders of truths, without a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from samplug.datasets.mask_values import MaskSpec, MaskValues, decide_mask_values
from samplug.datasets.pairing import list_files
from samplug.evaluation.baselines import BASELINES, NEEDS_IMAGE
from samplug.evaluation.protocols import ImageResult, Protocol
from samplug.evaluation.report import Report
from samplug.evaluation.scoring_pool import ScoringPool
from samplug.imaging.files import read_image, read_mask
from samplug.utils.errors import ConfigError, DataError

BASELINE_PREFIX = "baseline:"
_LISTED = 20
_SAMPLED = 32


@dataclass(frozen=True)
class GroundTruths:
    """The truths that predictions are compared with.

    Attributes:
        folder: Where they are.
        files: Name -> mask file.
        spec: What mask values mean.
        images: Name -> image file, for baselines that look at the image; may be empty.
        recursive: Names hold subfolders.
    """

    folder: Path
    files: Mapping[str, Path]
    spec: MaskSpec
    images: Mapping[str, Path]
    recursive: bool

    @classmethod
    def find(
        cls,
        folder: str | Path,
        suffix: str | None = None,
        mask_values: MaskSpec | Literal["auto"] = "auto",
        images: str | Path | None = None,
        recursive: bool = False,
    ) -> "GroundTruths":
        """List a folder.

        Args:
            folder: Masks.
            suffix: Ending of their names that predictions lack (``'_mask.png'``); None: any image suffix.
            mask_values: See :class:`samplug.datasets.mask_values.MaskValues`; ``'auto'``: 0/1 or 0/255.
            images: Folder of the images.
            recursive: Look into subfolders.

        Raises:
            DataError: No such folder, no masks in it, or two of one name.
        """
        folder = Path(folder).expanduser()
        files = _files(folder, suffix, recursive)
        spec = (
            decide_mask_values(list(files.values())[:: max(1, len(files) // _SAMPLED)])
            if mask_values == "auto"
            else mask_values
        )
        MaskValues.parse(spec)
        return cls(folder, files, spec, _files(Path(images).expanduser(), None, recursive) if images else {}, recursive)


@dataclass(frozen=True)
class Method:
    """Predictions by name: files, or a baseline.

    Attributes:
        name: In tables.
        source: Folder, or ``baseline:NAME``.
        files: Name -> prediction, or image, or truth where the baseline needs nothing but the size.
        baseline: Name of the baseline, if it is one.
        scale: Factor that takes the files' values to 0..255.
    """

    name: str
    source: str
    files: Mapping[str, Path]
    baseline: str | None = None
    scale: int = 1

    @classmethod
    def find(cls, source: str, truths: GroundTruths, suffix: str | None = None, name: str | None = None) -> "Method":
        """From ``FOLDER`` or ``baseline:NAME``.

        Raises:
            DataError: No such folder, no predictions in it, or two of one name.
            ConfigError: Unknown baseline, or one that needs images where there are none.
        """
        if not source.startswith(BASELINE_PREFIX):
            folder = Path(source).expanduser()
            found = _files(folder, suffix, truths.recursive)
            return cls(name or folder.resolve().name, source, found, scale=_scale(found))
        baseline = source.removeprefix(BASELINE_PREFIX)
        if baseline not in BASELINES:
            raise ConfigError(f"evaluate: there is no baseline {baseline!r}; there are {', '.join(BASELINES)}")
        if baseline in NEEDS_IMAGE and not truths.images:
            raise ConfigError(f"evaluate: the baseline {baseline} looks at the images: name their folder with --images")
        files = (
            {k: v for k, v in truths.images.items() if k in truths.files} if baseline in NEEDS_IMAGE else truths.files
        )
        return cls(name or baseline, source, files, baseline)


def evaluate(
    methods: Mapping[str, Method],
    truths: GroundTruths,
    protocol: Protocol,
    on_error: Literal["stop", "skip"] = "stop",
    resize: bool = False,
    workers: int = 0,
    progress: bool = False,
) -> dict[str, Report]:
    """Score methods, all of them on the same images.

    Args:
        methods: Name -> predictions.
        truths: GroundTruths.
        protocol: How to score.
        on_error: ``'stop'``: anything that cannot be scored ends it, all of it listed. ``'skip'``: an image that one method cannot be
            scored on is left out of all, and is in ``skipped``.
        resize: Resize predictions of another size to the truth's (bilinear); otherwise they are an error.
        workers: Number of processes; 0: this one.
        progress: Show a bar.

    Returns:
        Name -> report.

    Raises:
        DataError: Files without a partner, broken files, other sizes; no image that all methods can be scored on.
    """
    partners = {name: _partners(method, truths, on_error) for name, method in methods.items()}
    scored: dict[str, dict[str, ImageResult]] = {}
    problems: dict[str, dict[str, str]] = {}
    for name, method in methods.items():
        common, missing = partners[name]
        results = _score(method, common, truths, protocol, resize, workers, progress)
        scored[name] = {image: result for image, result in results.items() if isinstance(result, ImageResult)}
        problems[name] = missing | {image: result for image, result in results.items() if isinstance(result, str)}
        if problems[name] and (on_error == "stop" or not scored[name]):
            _stop(method, problems[name])
    shared = set.intersection(*(set(of) for of in scored.values()))
    if not shared:
        raise DataError(f"evaluate: there is no image that all of {', '.join(methods)} can be scored on")
    for name, of in scored.items():
        for image in sorted(of.keys() - shared):
            problems[name][image] = "left out: another method cannot be scored on it"
    reports = {
        name: Report.of(protocol, {image: of[image] for image in shared}, problems[name]) for name, of in scored.items()
    }
    for name, report in reports.items():
        if not report.images:
            image, why = next(iter(report.skipped.items()))
            raise DataError(f"evaluate: none of the {len(shared)} images of {name} has a score; {image}: {why}")
    return reports


def _partners(method: Method, truths: GroundTruths, on_error: str) -> tuple[list[str], dict[str, str]]:
    """Names that a method and the truths share, and those that only one has."""
    problems = {
        **dict.fromkeys(
            sorted(truths.files.keys() - method.files.keys()), f"{method.name} has no prediction of this name"
        ),
        **dict.fromkeys(
            sorted(method.files.keys() - truths.files.keys()), f"{truths.folder} has no truth of this name"
        ),
    }
    common = sorted(method.files.keys() & truths.files.keys())
    if not common:
        raise DataError(
            f"evaluate: no prediction in {method.source} has the name of a truth in {truths.folder}: for example "
            f"{min(method.files, default='none')!r} and {min(truths.files)!r}; --pred-suffix and --gt-suffix cut endings off"
        )
    if problems and on_error == "stop":
        _stop(method, problems)
    return common, problems


def _score(
    method: Method,
    names: Sequence[str],
    truths: GroundTruths,
    protocol: Protocol,
    resize: bool,
    workers: int,
    progress: bool,
) -> dict[str, ImageResult | str]:
    """Result of each image, or why there is none."""
    pool: ScoringPool[str, ImageResult | str] = ScoringPool(workers)
    try:
        for name in track(names, method.name, disable=not progress, transient=True):
            pool.submit(name, _score_files, method, name, truths.files[name], truths.spec, protocol, resize)
        return pool.finish()
    finally:
        pool.close()


def _score_files(
    method: Method, name: str, truth: Path, spec: MaskSpec, protocol: Protocol, resize: bool
) -> ImageResult | str:
    """The result of one image, or why there is none."""
    try:
        labels = MaskValues.parse(spec).labels(read_mask(truth), truth)
        gt, valid = labels == 1, labels != 255
        pred = _prediction(method, name, labels.shape)
        if pred.shape != gt.shape and protocol.size is None:
            if not resize:
                raise DataError(
                    f"the prediction {method.files[name]} is {pred.shape[1]}x{pred.shape[0]}, the truth {truth} {gt.shape[1]}x"
                    f"{gt.shape[0]}: save predictions at the truth's size, or pass --resize"
                )
            pred = cv2.resize(pred, gt.shape[::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        return protocol.score(pred, gt, None if valid.all() else valid)
    except (DataError, ValueError, cv2.error, MemoryError) as error:
        return str(error).removeprefix("data: ")


def _prediction(method: Method, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    path = method.files[name]
    if method.baseline in NEEDS_IMAGE:
        return BASELINES[method.baseline](read_image(path))
    if method.baseline:
        return BASELINES[method.baseline](np.zeros((*shape, 3), np.uint8))
    values: NDArray[Any] = read_mask(path)
    if values.ndim == 3:
        raise DataError(f"the prediction {path} is a colour picture: save grey maps, 255 = certain foreground")
    if method.scale > 1 and values.max() > 1:
        raise DataError(
            f"the prediction {path} has values up to {values.max()} among predictions of 0 and 1: save all as 0..255"
        )
    if values.dtype == np.uint16:
        values = (values if method.scale > 1 else np.round(values / 257)).astype(np.uint8)
    return values * np.uint8(method.scale)


def _scale(files: Mapping[str, Path]) -> int:
    """255 for folders of 0/1 maps: told by a sample, in which the highest value is 1."""
    highest = 0
    for path in list(files.values())[:: max(1, len(files) // _SAMPLED)]:
        try:
            highest = max(highest, int(read_mask(path).max()))
        except DataError:  # reported with its name when its turn comes
            continue
    return 255 if highest == 1 else 1


def _files(folder: Path, suffix: str | None, recursive: bool) -> dict[str, Path]:
    files, problems = list_files(folder, suffix, recursive)
    if problems:
        raise DataError("evaluate: " + "; ".join(f"{path} {what}" for path, what in problems.items()))
    if not files:
        wanted, ways = (f" that end in {suffix}", "another suffix or folder") if suffix else ("", "another folder")
        if not recursive and any(path.is_dir() for path in folder.iterdir()):
            ways += ", or pass --recursive to look into its subfolders"
        raise DataError(f"evaluate: {folder} holds no images{wanted}: name {ways}")
    return files


def _stop(method: Method, problems: Mapping[str, str]) -> None:
    lines = [f"  {name}: {what}" for name, what in list(problems.items())[:_LISTED]]
    if len(problems) > _LISTED:
        lines.append(f"  and {len(problems) - _LISTED} more")
    raise DataError(
        f"evaluate: {len(problems)} files of {method.name} cannot be scored; mend them, or pass --on-error skip:\n"
        + "\n".join(lines)
    )


def differences(reports: Mapping[str, Report], metric: str, lower_is_better: bool, number: int = 5) -> list[str]:
    """Lines that tell where methods differ: for each against the first, the images that gain and lose most.

    Args:
        reports: Method -> report.
        metric: What to compare.
        lower_is_better: Of the metric.
        number: Images on each side.
    """
    first, *others = reports
    lines = []
    for name in others:
        common = reports[first].images.keys() & reports[name].images.keys()
        gains = sorted(
            (
                (reports[name].images[image][metric] - reports[first].images[image][metric])
                * (-1 if lower_is_better else 1),
                image,
            )
            for image in common
            if metric in reports[name].images[image] and metric in reports[first].images[image]
        )
        better = sum(gain > 0 for gain, _ in gains)
        lines.append(f"{name} against {first}, {metric} by image: better on {better} of {len(gains)}")
        for caption, chosen in (("most gained", gains[::-1][:number]), ("most lost", gains[:number])):
            lines.append(f"  {caption}: " + ", ".join(f"{image} ({gain:+.3f})" for gain, image in chosen))
    return lines


def extremes(
    report: Report, metric: str, lower_is_better: bool, number: int = 5
) -> tuple[Sequence[str], Sequence[str]]:
    """Names of the worst and of the best images of a report, worst and best first."""
    ranked = sorted(
        (name for name in report.images if metric in report.images[name]),
        key=lambda name: report.images[name][metric] * (-1 if lower_is_better else 1),
    )
    return ranked[:number], ranked[::-1][:number]
