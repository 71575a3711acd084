"""Score folders of predictions against a folder of ground truths, without a model."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import cv2
from rich.progress import track

from samplug.evaluation.protocols import FileProtocol, GroundTruths, ImageResult, Predictions
from samplug.evaluation.report import Report
from samplug.evaluation.scoring_pool import ScoringPool
from samplug.utils.errors import DataError
from samplug.utils.text import listed_lines


def evaluate(
    methods: Mapping[str, Predictions[Any, Any]],
    ground_truths: GroundTruths[Any],
    protocol: FileProtocol[Any, Any],
    on_error: Literal["stop", "skip"] = "stop",
    workers: int = 0,
    progress: bool = False,
) -> dict[str, Report]:
    """Score methods, all of them on the same samples.

    Args:
        methods: Name -> predictions, from ``protocol.find_predictions``.
        ground_truths: From ``protocol.find_ground_truths``.
        protocol: Protocol to score with.
        on_error: ``'stop'``: raise an error that lists all samples that cannot be scored. ``'skip'``: leave a sample
            that one method cannot be scored on out of all methods, and list it in ``skipped``.
        workers: Number of processes; 0: this one.
        progress: Show a progress bar.

    Returns:
        Name -> report.

    Raises:
        DataError: Files have no partner, are broken or differ in size, or no sample can be scored for all methods.
    """
    partners = {name: _partners(method, ground_truths, on_error) for name, method in methods.items()}
    scored: dict[str, dict[str, ImageResult]] = {}
    problems: dict[str, dict[str, str]] = {}
    for name, method in methods.items():
        common, missing = partners[name]
        results = _score(method, common, ground_truths, protocol, workers, progress)
        scored[name] = {sample: result for sample, result in results.items() if isinstance(result, ImageResult)}
        problems[name] = missing | {sample: result for sample, result in results.items() if isinstance(result, str)}
        if problems[name] and (on_error == "stop" or not scored[name]):
            _stop(method, problems[name])
    shared = set.intersection(*(set(own) for own in scored.values()))
    if not shared:
        raise DataError(f"evaluate: there is no image that all of {', '.join(methods)} can be scored on")
    for name, own in scored.items():
        for sample in sorted(own.keys() - shared):
            problems[name][sample] = "left out: another method cannot be scored on it"
    reports = {
        name: Report.of(protocol, {sample: own[sample] for sample in shared}, problems[name])
        for name, own in scored.items()
    }
    for name, report in reports.items():
        if not report.images:
            sample, why = next(iter(report.skipped.items()))
            raise DataError(f"evaluate: none of the {len(shared)} images of {name} has a score; {sample}: {why}")
    return reports


def _partners(
    method: Predictions[Any, Any], ground_truths: GroundTruths[Any], on_error: str
) -> tuple[list[str], dict[str, str]]:
    """Return the names that predictions and ground truths share, and a problem for each other name."""
    predicted, known = method.files.keys(), ground_truths.files.keys()
    problems = {
        **dict.fromkeys(sorted(known - predicted), f"{method.name} has no prediction of this name"),
        **dict.fromkeys(sorted(predicted - known), f"{ground_truths.folder} has no ground truth of this name"),
    }
    common = sorted(predicted & known)
    if not common:
        raise DataError(
            f"evaluate: no prediction in {method.source} has the name of a ground truth in {ground_truths.folder}: for "
            f"example {min(predicted, default='none')!r} and {min(known)!r}; --pred-suffix and --gt-suffix cut endings "
            "off"
        )
    if problems and on_error == "stop":
        _stop(method, problems)
    return common, problems


def _score(
    method: Predictions[Any, Any],
    names: Sequence[str],
    ground_truths: GroundTruths[Any],
    protocol: FileProtocol[Any, Any],
    workers: int,
    progress: bool,
) -> dict[str, ImageResult | str]:
    """Return the result of each sample, or the reason why there is none."""
    pool: ScoringPool[str, ImageResult | str] = ScoringPool(workers)
    try:
        for name in track(names, method.name, disable=not progress, transient=True):
            files = method.files[name], ground_truths.files[name]
            pool.submit(name, _score_files, protocol, method.read, ground_truths.read, *files)
        return pool.finish()
    finally:
        pool.close()


def _score_files(
    protocol: FileProtocol[Any, Any], read_prediction: Any, read_ground_truth: Any, pred_files: Any, gt_files: Any
) -> ImageResult | str:
    """Return the result of one sample, or the reason why there is none."""
    try:
        ground_truth = read_ground_truth(gt_files)
        return protocol.score(read_prediction(pred_files, ground_truth), ground_truth)
    except (DataError, ValueError, cv2.error, MemoryError) as error:
        return str(error).removeprefix("data: ")


def _stop(method: Predictions[Any, Any], problems: Mapping[str, str]) -> None:
    raise DataError(
        f"evaluate: {len(problems)} files of {method.name} cannot be scored; mend them, or pass --on-error skip:\n"
        + listed_lines(problems)
    )


def differences(reports: Mapping[str, Report], metric: str, lower_is_better: bool, number: int = 5) -> list[str]:
    """Return lines of text that name the images on which the other methods gain and lose most against the first.

    Args:
        reports: Method -> report.
        metric: Metric to compare.
        lower_is_better: A smaller value of the metric is better.
        number: Number of images on each side.
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
    """Return the names of the worst images of a report, the worst first, and of the best ones, the best first."""
    ranked = sorted(
        (name for name in report.images if metric in report.images[name]),
        key=lambda name: report.images[name][metric] * (-1 if lower_is_better else 1),
    )
    return ranked[:number], ranked[::-1][:number]
