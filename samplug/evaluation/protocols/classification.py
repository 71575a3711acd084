"""Protocols of image classification: a score for each class, against the index of the right one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samplug.evaluation.protocols.base import ImageResult, Protocol, Scores, register_protocol

_LARGEST = 100
_PERCENT = 100.0


@register_protocol
@dataclass(frozen=True)
class TopK(Protocol[NDArray[Any], int]):
    """``top1``, ``top5`` ...: percent of images whose class is among the k of the largest scores.

    ``mean_per_class`` is the mean of the classes' ``top1``, which counts classes and not images. Of equal scores, the
    class of the smaller index comes first. With K classes, a k of K or more would
    always score 100 and is left out, except 1.

    Args:
        topk: Values of k.
        classes: Names of the classes in the order of their indices; empty: unknown.
    """

    topk: tuple[int, ...] = (1, 5)
    classes: tuple[str, ...] = ()

    name = "topk"
    columns = (*(f"top{k}" for k in range(1, 1 + _LARGEST)), "mean_per_class")
    decimals = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "topk", tuple(sorted(set(self.topk))))
        whole = all(isinstance(k, int) and 1 <= k <= _LARGEST for k in self.topk)
        self._require("topk", bool(self.topk) and whole, f"a list of whole numbers from 1 to {_LARGEST}")

    def score(self, pred: NDArray[Any], ground_truth: int) -> ImageResult:
        """Score one image; its row also has ``label`` and ``predicted``, indices of classes.

        Args:
            pred: (K,) float, a score for each class.
            ground_truth: Index of the right class.

        Raises:
            ValueError: A score is NaN, the label is not in 0..K-1, or the dataset has another number of classes.
        """
        place = place_of(pred, ground_truth, self.classes)
        hits = {f"top{k}": _PERCENT * (place < k) for k in self.topk if k == 1 or k < len(pred)}
        return ImageResult({**hits, "label": ground_truth, "predicted": int(np.argmax(pred))})

    def summarise(self, results: Sequence[ImageResult]) -> Scores:
        means = super().summarise(results)
        for name in ("label", "predicted"):
            means.pop(name, None)
        if results:
            first = [means_of["top1"] for means_of in self._of_classes(results).values() if "top1" in means_of]
            if first:
                means["mean_per_class"] = float(np.mean(first))
        return means

    def details(self, results: Sequence[ImageResult]) -> dict[str, Any]:
        """Return ``classes``: class -> images and scores, and ``confusions``: [class, predicted class, images], the
        most frequent first.
        """
        pairs = Counter((int(result.scores["label"]), int(result.scores["predicted"])) for result in results)
        wrong = sorted((-number, label, found) for (label, found), number in pairs.items() if label != found)
        return dict(
            classes=self._of_classes(results),
            confusions=[[self._class(label), self._class(found), -number] for number, label, found in wrong],
        )

    def _of_classes(self, results: Sequence[ImageResult]) -> dict[str, Scores]:
        groups: dict[int, list[ImageResult]] = {}
        for result in results:
            groups.setdefault(int(result.scores["label"]), []).append(result)
        return {
            self._class(label): {
                "images": len(group),
                **{
                    name: float(np.mean([result.scores[name] for result in group]))
                    for name in group[0].scores
                    if name not in ("label", "predicted")
                },
            }
            for label, group in sorted(groups.items())
        }

    def _class(self, index: int) -> str:
        return self.classes[index] if self.classes else str(index)


@register_protocol
@dataclass(frozen=True)
class NearestNeighbours(Protocol[Mapping[str, NDArray[Any]], int]):
    """``knn_top1@k`` and ``knn_top5@k``: top-1 and top-5 in percent of a vote of k neighbours.

    With n images of each class in the bank, ``knn_top1@k_shots{n}`` is the mean over several draws, and
    ``knn_top1_std@k_shots{n}`` their standard deviation.

    Args:
        topk: As in :class:`TopK`.
        classes: As in :class:`TopK`.
        settings: Settings in the order of tables, ``'20'`` (k) or ``'5_shots5'``.
    """

    topk: tuple[int, ...] = (1, 5)
    classes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ("10", "20", "100", "200")

    name = "knn"
    columns = ("knn_top1", "knn_top5")  # of the class, for the direction of all names; an instance has its own
    decimals = 2

    def __post_init__(self) -> None:
        spreads = {setting: ("", "_std") if "_shots" in setting else ("",) for setting in self.settings}
        names = (f"knn_top{k}{end}@{s}" for k in self.topk for s in self.settings for end in spreads[s])
        object.__setattr__(self, "columns", tuple(names))

    def score(self, pred: Mapping[str, NDArray[Any]], ground_truth: int) -> ImageResult:
        """Score one image.

        Args:
            pred: Setting (``'20'``, ``'5_shots5'``) -> (draws, K) float, scores for each draw of the bank.
            ground_truth: Index of the right class.

        Raises:
            ValueError: A score is NaN, the label is not in 0..K-1, or the dataset has another number of classes.
        """
        hits: dict[str, list[float]] = {}
        for setting, draws in pred.items():
            places = [place_of(scores, ground_truth, self.classes) for scores in draws]
            for k in self.topk:
                if k == 1 or k < draws.shape[1]:
                    hits[f"knn_top{k}@{setting}"] = [_PERCENT * (place < k) for place in places]
        return ImageResult({name: float(np.mean(values)) for name, values in hits.items()}, hits)

    def summarise(self, results: Sequence[ImageResult]) -> Scores:
        means = super().summarise(results)
        for name in list(means):
            draws = np.mean([result.extra[name] for result in results], axis=0)
            if len(draws) > 1:
                means[name.replace("@", "_std@")] = float(np.std(draws))
        return means


def place_of(scores: NDArray[Any], label: int, classes: Sequence[str] = ()) -> int:
    """Return the place of a class among the scores, from 0; of equal scores, the smaller index comes first.

    Args:
        scores: (K,) float.
        label: Index of the class.
        classes: Names of the K classes; empty: unknown.

    Raises:
        ValueError: A score is NaN, the label is not in 0..K-1, or there are not K classes.
    """
    if classes and len(classes) != len(scores):
        raise ValueError(
            f"the model predicts {len(scores)} classes, the dataset has {len(classes)}: set the model's number of "
            "classes, or the dataset's classes_from"
        )
    if not 0 <= label < len(scores):
        raise ValueError(f"the label is {label}, the model predicts the classes 0 to {len(scores) - 1}")
    if np.isnan(scores).any():
        raise ValueError("the model's scores are NaN: check its weights and its precision")
    own = scores[label]
    return int(np.count_nonzero(scores > own) + np.count_nonzero(scores[:label] == own))
