"""Metric of features: k-nearest-neighbour classification."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather, all_gather_object, broadcast, get_comm_device, get_rank, get_world_size
from mmengine.logging import print_log
from numpy.typing import NDArray
from torch import Tensor

from samplug.datasets.few_shot import draw_shots
from samplug.evaluation.functional.knn import merge, nearest, vote
from samplug.evaluation.metrics.top_k import ClassMetric
from samplug.evaluation.protocols import NearestNeighbours
from samplug.registry import METRICS
from samplug.utils.errors import ConfigError, DataError

_CHUNK = 256


class FeatureList:
    """Features of images with their labels, in batches of any device, kept in float32 on the CPU."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.clear()

    def clear(self) -> None:
        """Forget all images."""
        self.used = False
        self.names: list[str] = []
        self.labels: list[int] = []
        self._batches: list[Tensor] = []

    def add(self, names: Sequence[str], labels: Sequence[int], features: Tensor) -> None:
        """Add N images with features (N, D). If the list was used, that begins a new one."""
        if self.used:
            self.clear()
        self.names += names
        self.labels += labels
        self.device = features.device
        self._batches.append(features.detach().float().cpu())

    def features(self, dim: int) -> Tensor:
        """Return the features, (N, D) float32; (0, ``dim``) if there are none."""
        if len(self._batches) > 1:
            self._batches = [torch.cat(self._batches)]
        return self._batches[0] if self._batches else torch.empty(0, dim)

    @property
    def dim(self) -> int:
        """Length of a feature; 0 if there are none."""
        return self._batches[0].shape[1] if self._batches else 0


@METRICS.register_module()
class KNNMetric(ClassMetric):
    """``knn_top1@k`` ``knn_top5@k`` in percent: classes by the vote of nearest neighbours.

    See :func:`samplug.evaluation.functional.knn_scores`; the defaults are those of DINOv2's evaluation.

    Samples have ``pred_feature`` (D,) and ``gt_label`` (1,). Those with ``bank=True`` in their metainfo are the bank,
    all others are scored: concatenate both in one test set,
    ``dict(type='ConcatDataset', datasets=[dict(type='ImageFolderDataset', image_dir='train', bank=True, ...),
    dict(type='ImageFolderDataset', image_dir='val', classes_from='train', ...)])``. Both must have the same
    transform without augmentation. In several processes each keeps its part of the bank; images that a distributed
    sampler repeats count once, and the scores are those of one process.

    With ``shots``, scores of few-shot banks are added: ``tries`` banks of n images of each class, drawn with the seeds
    0, 1, ...; k up to n, and n itself.

    Args:
        ks: Numbers of neighbours; those beyond the size of the bank are left out.
        temperature: Temperature of the weights' softmax.
        topk: Values of k of the accuracy.
        shots: Images of each class in few-shot banks.
        tries: Few-shot banks for each number of shots.
        **kwargs: ``out_file``, ``label``, ``collect_device`` and ``prefix`` of :class:`PerImageMetric`.

    Raises:
        ConfigError: A number is not positive.
    """

    protocol: NearestNeighbours

    def __init__(
        self,
        ks: Sequence[int] = (10, 20, 100, 200),
        temperature: float = 0.07,
        topk: Sequence[int] = (1, 5),
        shots: Sequence[int] = (),
        tries: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(NearestNeighbours(topk=tuple(topk)), **kwargs)
        numbers = [*ks, *shots, *topk, tries]
        if not ks or not topk or not all(isinstance(n, int) and n > 0 for n in numbers) or not temperature > 0:
            raise ConfigError(
                f"KNNMetric: ks={list(ks)}, shots={list(shots)}, topk={list(topk)}, tries={tries} and "
                f"temperature={temperature} must be positive"
            )
        self.ks, self.shots, self.tries = sorted(set(ks)), sorted(set(shots)), tries
        self.temperature = temperature
        self.bank, self.queries = FeatureList(), FeatureList()

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        for target, samples in (
            (self.bank, [sample for sample in data_samples if sample.get("bank")]),
            (self.queries, [sample for sample in data_samples if not sample.get("bank")]),
        ):
            if not samples:
                continue
            names = [sample["img_path"] for sample in samples]
            if lacking := [sample["img_path"] for sample in samples if "pred_feature" not in sample]:
                raise DataError(f"KNNMetric: {lacking[0]}: the model gave no pred_feature: use LinearProbe")
            features = torch.stack([sample["pred_feature"] for sample in samples])
            if not (finite := features.isfinite().all(dim=1)).all():
                name = names[int(finite.logical_not().nonzero()[0])]
                raise DataError(
                    f"KNNMetric: {name}: its feature is NaN or infinite: check the weights and the precision"
                )
            target.add(names, [self._label(sample) for sample in samples], features)

    def evaluate(self, size: int) -> dict[str, float]:
        parts = all_gather_object((self.bank.names, self.bank.labels, self.bank.dim, self.queries.names))
        places, labels = _bank_of(parts)
        self.bank.used = self.queries.used = True  # other sets have the same bank
        if not len(labels) or not any(queries for *_, queries in parts):
            lacking = "images to score beside the bank" if len(labels) else "bank: give the training images bank=True"
            raise DataError(f"KNNMetric: the test set has no {lacking}, see KNNMetric in docs/metrics.md")
        dim = max(dim for _, _, dim, _ in parts)
        classes = len(self.protocol.classes) or int(labels.max()) + 1
        if labels.max() >= classes:
            raise DataError(
                f"KNNMetric: the bank has the label {int(labels.max())}, the scored set {classes} classes: set "
                "classes_from of the scored set to the folder of the bank"
            )
        self._say_left_out(classes)
        own = places[get_rank()]
        features, kept = self.bank.features(dim), own >= 0
        if not kept.all():
            features, own = features[kept], own[kept]
        banks = [_Bank.of(features, own, *bank) for bank in self._banks(labels)]
        settings_of = dict.fromkeys(f"{k}{bank.suffix}" for bank in banks for k in bank.ks)
        self.protocol = replace(self.protocol, settings=tuple(settings_of))
        for chunk, names, own_labels in self._chunks(dim, [len(queries) for *_, queries in parts]):
            found = [self._scores(bank, labels, chunk, classes) for bank in banks]
            for row, (name, label) in enumerate(zip(names, own_labels, strict=True)):
                settings: dict[str, list[Any]] = {}
                for scores, bank in zip(found, banks, strict=True):
                    for k, of_class in scores.items():
                        settings.setdefault(f"{k}{bank.suffix}", []).append(of_class[row])
                self.submit(name, {setting: np.stack(draws) for setting, draws in settings.items()}, label)
        return super().evaluate(size)

    def _banks(self, labels: Tensor) -> Iterator[tuple[Tensor | None, list[int], str]]:
        """Yield the places (None: all), numbers of neighbours, and suffix of the names of each bank."""
        ks = [k for k in self.ks if k <= len(labels)] or [len(labels)]
        if ks != self.ks:
            print_log(f"KNNMetric: the bank has {len(labels)} images: k is {', '.join(map(str, ks))}", "current")
        yield None, ks, ""
        for shots in self.shots:
            for seed in range(self.tries):
                yield draw_shots(labels, shots, seed), self._few_shot_ks(shots), f"_shots{shots}"

    def _few_shot_ks(self, shots: int) -> list[int]:
        return sorted({*(k for k in self.ks if k <= shots), shots})

    def _chunks(self, dim: int, numbers: Sequence[int]) -> Iterator[tuple[Tensor, list[str], list[int]]]:
        """Yield the queries of all ranks, the same on all of them: features (Q, D), and their names and labels on the
        rank that they belong to.
        """
        mine, device = self.queries.features(dim), get_comm_device() if get_world_size() > 1 else self.queries.device
        for rank, number in enumerate(numbers):
            for start in range(0, number, _CHUNK):
                rows = slice(start, min(start + _CHUNK, number))
                if rank == get_rank():
                    chunk = mine[rows].to(device).contiguous()
                    names, labels = self.queries.names[rows], self.queries.labels[rows]
                else:
                    chunk, names, labels = torch.empty(rows.stop - start, dim, device=device), [], []
                broadcast(chunk, rank)
                yield chunk, names, labels

    def _scores(self, bank: "_Bank", labels: Tensor, queries: Tensor, classes: int) -> dict[int, NDArray[np.float64]]:
        """Score queries (Q, D), the same on all ranks, by the bank of all ranks: k -> (Q, classes)."""
        most = max(bank.ks)
        found = merge(all_gather(nearest(bank.features, bank.places, queries, most)), most)
        scores = vote(found, labels, classes, bank.ks, self.temperature)
        return {k: of_class.cpu().numpy() for k, of_class in scores.items()}


@dataclass(frozen=True)
class _Bank:
    """This rank's part of a bank.

    Attributes:
        features: (n, D) float.
        places: (n,) int64, their places in the whole bank.
        ks: Numbers of neighbours.
        suffix: End of the names of its scores.
    """

    features: Tensor
    places: Tensor
    ks: Sequence[int]
    suffix: str

    @classmethod
    def of(cls, features: Tensor, places: Tensor, chosen: Tensor | None, ks: Sequence[int], suffix: str) -> "_Bank":
        """Take the chosen places of a bank; None: all."""
        if chosen is not None:
            rows = torch.isin(places, chosen)
            features, places = features[rows], places[rows]
        return cls(features, places, ks, suffix)


def _bank_of(parts: Sequence[tuple[list[str], list[int], int, list[str]]]) -> tuple[list[Tensor], Tensor]:
    """Put the banks of all ranks in the order of their names; a repeated image belongs to the first rank.

    Returns:
        For each rank the places of its images in the whole bank, -1 for those that are repeated; labels (N,).
    """
    owners: dict[str, tuple[int, int, int]] = {}
    for rank, (names, labels, *_) in enumerate(parts):
        for row, (name, label) in enumerate(zip(names, labels, strict=True)):
            owners.setdefault(name, (rank, row, label))
    places = [torch.full((len(names),), -1) for names, *_ in parts]
    ordered = sorted(owners.items())
    for place, (_, (rank, row, _)) in enumerate(ordered):
        places[rank][row] = place
    return places, torch.tensor([label for _, (*_, label) in ordered], dtype=torch.int64)
