"""Evaluator that gives any metric a row of scores for each test set."""

import copy
from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from logging import ERROR, WARNING
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import print_log
from mmengine.registry import METRICS
from mmengine.structures import BaseDataElement
from torch import Tensor

from samplug.evaluation.metrics import PerImageMetric
from samplug.evaluation.report import table
from samplug.registry import EVALUATOR
from samplug.utils.files import Attempts
from samplug.utils.model_outputs import Outputs, outputs_of

# Attributes of metrics that name a file to write; with several sets, each set has a file of its own.
_FILES = ("out_file", "out_file_path", "outfile_prefix")


@EVALUATOR.register_module()
class SetsEvaluator(Evaluator):
    """MMEngine's evaluator that scores each test set on its own.

    Metrics are called ``SET/NAME``, or ``NAME`` as usual if there is one set. A sample belongs to the set of its
    ``dataset_name``. Samples without one belong to the part of a concatenated dataset that they come from, if the
    runner has called :meth:`describe`. The name of a part is its ``name``, its ``metainfo['dataset_name']``, or else
    ``set0``, ``set1``, ... Each set has a copy of every metric, with the set's own ``dataset_meta`` and its own file if
    the metric writes one (``out.SET.json``). Samples that a distributed sampler repeats count once. If two metrics
    report one name, that of the later metric gets its class as a prefix. Samples with ``bank=True`` belong to no set:
    they are the bank of all sets for metrics that have one, such as :class:`samplug.evaluation.metrics.KNNMetric`.

    SamplugRunner uses it by default; for MMEngine's Runner: ``test_evaluator=dict(type='samplug.SetsEvaluator',
    metrics=[...])``.

    Args:
        metrics: Config of a metric, or a metric, or a list of them.
    """

    def __init__(self, metrics: dict[str, Any] | BaseMetric | Sequence[Any]) -> None:
        configs = metrics if isinstance(metrics, Sequence) else [metrics]
        super().__init__(configs)
        self._makers = [_maker(config) for config in configs]
        self._files = [
            {name: getattr(metric, name) for name in _FILES if getattr(metric, name, None)} for metric in self.metrics
        ]
        self._of_sets: dict[str, list[BaseMetric]] = {}
        self._parts: list[tuple[str, int]] = []  # name and end of each part of the loader's dataset
        self._metas: dict[str, Any] = {}
        self._outputs: Callable[[], Outputs] | None = None
        self._seen: dict[str, set[Hashable]] = {}
        self._bank: set[Hashable] = set()
        self._written = Attempts()

    def describe(self, dataset: Any, model: Callable[[], Any]) -> None:
        """Set the tested dataset and model.

        Samples belong to the dataset's parts; metrics must know if the model returns logits or probabilities.

        Args:
            dataset: Dataset of the loader; its ``datasets`` are the sets, if it has them.
            model: Function that returns the model; it is called when the first samples arrive.
        """
        self._parts, end = [], 0
        for name, part in named_sets(dataset):
            end += len(part)
            self._parts.append((name, end))
            self._metas[name] = getattr(part, "metainfo", None) or {}
        self._outputs = lambda: outputs_of(model())

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Metainfo of the whole dataset."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any]) -> None:
        self._dataset_meta = dataset_meta
        for metric in self.metrics:
            metric.dataset_meta = dataset_meta

    def process(self, data_samples: Sequence[Any], data_batch: Any = None) -> None:
        """Give the samples of a batch to the metrics of their sets; arguments as MMEngine's."""
        samples = [sample.to_dict() if isinstance(sample, BaseDataElement) else sample for sample in data_samples]
        chosen: dict[str, list[int]] = {}
        bank: list[int] = []
        for number, sample in enumerate(samples):
            name, key = self._place(sample)
            if isinstance(sample, Mapping) and sample.get("bank"):
                self._bank.add(key)
                bank.append(number)
                continue
            chosen.setdefault(name, []).append(number)
            seen = self._seen.setdefault(name, set())
            seen.add(key if key is not None else ("unnamed", len(seen)))
        for name, numbers in chosen.items():
            batch = data_batch if len(numbers) == len(samples) else _part_of_batch(data_batch, numbers, len(samples))
            for metric in self._metrics_of(name):
                metric.process(batch, [samples[number] for number in numbers])
        if bank:
            batch = _part_of_batch(data_batch, bank, len(samples))
            for metric in self.metrics:  # those of further sets share its bank
                if hasattr(metric, "bank"):
                    metric.process(batch, [samples[number] for number in bank])

    def evaluate(self, size: int) -> dict[str, float]:
        """Sum up each set, print a table with a row for each, and write the files.

        Args:
            size: Number of samples of all sets together.

        Returns:
            Name -> value, the same on every rank.
        """
        sizes = self._sizes()
        size -= len(set().union(*all_gather_object(self._bank)))
        self._bank = set()
        several = len(sizes) > 1
        if several and (scored := sum(sizes.values())) != size:
            print_log(f"{scored} different samples were scored, the data set has {size}", "current", WARNING)
        found: dict[str, float] = {}
        tables: dict[str, _Table] = {}
        for name in sorted(sizes) or [""]:
            own: dict[str, float] = {}
            for metric, files in zip(self._metrics_of(name), self._files, strict=True):
                for attribute, path in files.items():
                    setattr(metric, attribute, _file_of_set(path, name) if several else path)
                scores = metric.evaluate(sizes[name] if several else size)
                own |= _renamed(scores, own, type(metric).__name__)
                _add_row(tables, metric, scores, name, several)
            found |= {f"{name or 'other'}/{key}" if several else key: value for key, value in own.items()}
        for title, rows in tables.items():
            print_log("\n" + rows.text(title), "current")
        for metrics in self._of_sets.values():  # last: the tables are there even if a file cannot be written
            for metric in metrics:
                if isinstance(metric, PerImageMetric):
                    with self._written:
                        metric.write_report()
        for error in self._written.errors:
            print_log(str(error), "current", ERROR)
        if self._outputs is None:
            self.check_reports()
        return found

    def check_reports(self) -> None:
        """Raise the error of a report that could not be written.

        Runners that have called :meth:`describe` call this at the end of the run, so that records and checkpoints of
        these scores are not lost.

        Raises:
            WriteError: A file of scores could not be written.
        """
        written, self._written = self._written, Attempts()
        written.finish()

    def _place(self, sample: Any) -> tuple[str, Hashable]:
        """Return the set of a sample, and its key among the samples of the set (None: there is none)."""
        if not isinstance(sample, Mapping):
            return "", None
        seed = sample.get("sample_seed")  # (seed, epoch, index), from SeededDataset
        index = None if seed is None else int(seed[2])
        name = sample.get("dataset_name")
        if name is None and index is not None and len(self._parts) > 1:
            name = self._parts[bisect_right([end for _, end in self._parts], index)][0]
        return name or "", sample.get("img_path") if index is None else index

    def _metrics_of(self, name: str) -> list[BaseMetric]:
        """Return the metrics of a set: the evaluator's own for the first set, new ones for further sets."""
        if name not in self._of_sets:
            metrics = [make() for make in self._makers] if self._of_sets else self.metrics
            for metric, first in zip(metrics, self.metrics, strict=True):
                metric.dataset_meta = self._metas.get(name, self._dataset_meta)
                if hasattr(metric, "bank"):
                    metric.bank = first.bank
                if isinstance(metric, PerImageMetric):
                    metric.publishes = False
                if self._outputs and hasattr(metric, "declare_outputs"):
                    metric.declare_outputs(self._outputs())
            self._of_sets[name] = metrics
        return self._of_sets[name]

    def _sizes(self) -> dict[str, int]:
        """Return the number of different samples in each set, over all ranks, and reset it."""
        keys: dict[str, set[Hashable]] = {}
        for rank, seen in enumerate(all_gather_object(self._seen)):
            for name, own in seen.items():
                keys.setdefault(name, set()).update((rank, key) if isinstance(key, tuple) else key for key in own)
        self._seen = {}
        return {name: len(own) for name, own in keys.items()}


def named_sets(dataset: Any) -> list[tuple[str, Any]]:
    """Return name and dataset of each part of a concatenated dataset, or of the dataset itself, in order."""
    named = []
    for number, part in enumerate(getattr(dataset, "datasets", None) or [dataset]):
        meta = getattr(part, "metainfo", None) or {}
        named.append((getattr(part, "name", None) or meta.get("dataset_name") or f"set{number}", part))
    return named


def check_reports(loop: Any) -> None:
    """Call :meth:`SetsEvaluator.check_reports` of a loop's evaluator, if it has this method."""
    if isinstance(evaluator := getattr(loop, "evaluator", None), SetsEvaluator):
        evaluator.check_reports()


class _Table:
    """Rows of one printed table."""

    def __init__(self, columns: Sequence[str], decimals: int = 4) -> None:
        self.columns, self.decimals = list(columns), decimals
        self.rows: dict[str, dict[str, float]] = {}

    def add(self, label: str, scores: dict[str, float]) -> None:
        number = sum(other.partition(" #")[0] == label for other in self.rows)
        self.rows[f"{label} #{number + 1}" if number else label] = scores

    def text(self, title: str) -> str:
        return table(self.rows, self.columns, title, self.decimals)


def _add_row(
    tables: dict[str, _Table], metric: BaseMetric, scores: Mapping[str, Any], name: str, several: bool
) -> None:
    """Add a set's row to the table of a protocol; with several sets, to that of any other metric too."""
    label = name or "test set"
    if isinstance(metric, PerImageMetric):
        protocol = metric.protocol
        rows = tables.setdefault(protocol.name, _Table(protocol.columns, protocol.decimals))
        prefix = f"{metric.prefix}/" if metric.prefix else ""
        own = {key.removeprefix(prefix): value for key, value in scores.items()}
        rows.add(f"{label}, {metric.label}" if metric.label else label, own)
        for source, published in protocol.published_rows().items():
            rows.add(f"{label}, {source}", published)
    elif several:
        numbers = {key: float(value) for key, value in scores.items() if isinstance(value, int | float)}
        rows = tables.setdefault(type(metric).__name__, _Table([]))
        rows.columns += [key for key in numbers if key not in rows.columns]
        rows.add(label, numbers)


def _maker(config: Any) -> Callable[[], BaseMetric]:
    """Return a function that makes metrics that have seen no sample."""
    if isinstance(config, dict):
        return lambda: METRICS.build(config)
    unused = copy.deepcopy(config)
    return lambda: copy.deepcopy(unused)


def _renamed(scores: Mapping[str, float], taken: Mapping[str, float], owner: str) -> dict[str, float]:
    """Put the class of the metric before names that another metric has taken."""
    names = {}
    for name in scores:
        new, number = name, 1
        while new in taken:
            new, number = f"{owner}{number if number > 1 else ''}/{name}", number + 1
        if new != name:
            print_log(
                f"two metrics report {name}: {owner}'s is called {new} (set its prefix=... to rename it)",
                "current",
                WARNING,
            )
        names[name] = new
    return {names[name]: value for name, value in scores.items()}


def _file_of_set(path: str, name: str) -> str:
    target = Path(path)
    return str(target.with_name(f"{target.stem}.{name.replace('/', '_') or 'other'}{target.suffix}"))


def _part_of_batch(batch: Any, numbers: Sequence[int], size: int) -> Any:
    """Return the chosen samples of a collated batch, from every list or tensor with an entry for each sample."""
    if isinstance(batch, Mapping):
        return {key: _part_of_batch(value, numbers, size) for key, value in batch.items()}
    if isinstance(batch, Tensor):
        return batch[list(numbers)] if batch.dim() and len(batch) == size else batch
    if isinstance(batch, list | tuple) and len(batch) == size:
        return [batch[number] for number in numbers]
    return batch
