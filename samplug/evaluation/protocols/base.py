"""Base classes of evaluation protocols, and the registry; importing it needs neither torch nor MMEngine."""

from abc import ABC, abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from samplug.imaging.listing import list_files, walk
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.text import indented

Pred = TypeVar("Pred")
Truth = TypeVar("Truth")
ProtocolType = TypeVar("ProtocolType", bound="type[Protocol[Any, Any]]")

Scores = dict[str, float]
Files = tuple[Path, ...]
"""The files of one sample."""

BASELINE_PREFIX = "baseline:"
"""Prefix of sources that are baselines, not folders."""

PROTOCOLS: "dict[str, type[Protocol[Any, Any]]]" = {}
"""Name -> protocol, filled by :func:`register_protocol`."""


def register_protocol(cls: ProtocolType) -> ProtocolType:
    """Class decorator: add a protocol to ``PROTOCOLS`` under its ``name``.

    Raises:
        ConfigError: Another class has the name.
    """
    other = PROTOCOLS.setdefault(cls.name, cls)
    if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError(
            f"evaluate: {other.__module__}.{other.__qualname__} and {cls.__module__}.{cls.__qualname__} are both "
            f"called {cls.name!r}: rename one"
        )
    PROTOCOLS[cls.name] = cls  # a module that is reloaded registers its classes again
    return cls


@dataclass(frozen=True)
class ImageResult:
    """Contribution of one sample to the scores of a set.

    Attributes:
        scores: Metric -> value of the sample; empty if it has none.
        extra: Further values that the summary needs (curves, pixel counts).
        skipped: Reason why the sample does not count; None if it counts.
    """

    scores: Scores
    extra: Mapping[str, Any] = field(default_factory=dict)
    skipped: str | None = None


@dataclass(frozen=True)
class Protocol(ABC, Generic[Pred, Truth]):
    """Base of protocols: score one sample, then sum up the samples of a set.

    A protocol is picklable and knows nothing of models: test runs (:class:`samplug.evaluation.metrics.PerImageMetric`)
    and folders of files (:class:`FileProtocol`) score with the same object.

    Attributes:
        name: Name in the command, in reports and tables.
        columns: Names of the metrics, in the order of tables.
        lower_is_better: Metrics whose smaller value is the better one.
        decimals: Digits after the point in tables.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    decimals: ClassVar[int] = 4

    @abstractmethod
    def score(self, pred: Pred, ground_truth: Truth) -> ImageResult:
        """Score one sample.

        Raises:
            ValueError: Prediction and ground truth do not fit each other.
        """

    def summarise(self, results: Sequence[ImageResult]) -> Scores:
        """Sum up the samples that count: means over the samples that have a score."""
        names = dict.fromkeys(name for result in results for name in result.scores)
        return {
            name: float(np.mean([result.scores[name] for result in results if name in result.scores])) for name in names
        }

    def details(self, results: Sequence[ImageResult]) -> dict[str, Any]:
        """Return further entries of the report's JSON file, from the samples that count."""
        return {}

    def published_rows(self) -> dict[str, Scores]:
        """Return scores of the literature to print below one's own: label of the row -> metric -> value."""
        return {}

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise ConfigError(f"{self.name}: {name}={getattr(self, name)!r} is not {wanted}")


@dataclass(frozen=True)
class GroundTruths(Generic[Truth]):
    """The ground truths of a folder.

    Attributes:
        folder: Folder that holds them.
        files: Sample -> its files.
        read: Read the files of one sample; a function that can be pickled.
        recursive: Names of samples hold subfolders.
    """

    folder: Path
    files: Mapping[str, Files]
    read: Callable[[Files], Truth]
    recursive: bool = False


@dataclass(frozen=True)
class Predictions(Generic[Pred, Truth]):
    """The predictions of one method.

    Attributes:
        source: Folder, or another source that the protocol knows.
        name: Name in tables.
        files: Sample -> its files.
        read: Read the prediction of one sample from its files; its size must be that of the ground truth. A function
            that can be pickled.
        note: Remark that is printed, e.g. that values were rescaled; may be empty.
    """

    source: str
    name: str
    files: Mapping[str, Files]
    read: Callable[[Files, Truth], Pred]
    note: str = ""


@dataclass(frozen=True)
class FileProtocol(Protocol[Pred, Truth]):
    """Base of protocols that read their samples from folders.

    ``tools/evaluate_masks.py PROTOCOL`` exists for each registered one. A protocol whose samples are one image file
    each defines ``read_prediction`` and ``read_ground_truth``. Where a sample has several files (``mask_0_NAME.png``,
    ``mask_1_NAME.png``) or files of another kind (``NAME.json``), override ``find_predictions`` or
    ``find_ground_truths``. Settings are fields of the dataclass; an argument of the command that has a field's name
    sets that field.
    """

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Add the protocol's own arguments to its command."""

    @classmethod
    def from_args(cls, args: Namespace) -> Self:
        """Build the protocol from the arguments of its command; fields take the argument of their name.

        Raises:
            ConfigError: An argument has a wrong value.
        """
        return cls(**{item.name: getattr(args, item.name) for item in fields(cls) if hasattr(args, item.name)})

    @abstractmethod
    def read_ground_truth(self, files: Files) -> Truth:
        """Read the ground truth of one sample.

        Raises:
            DataError: A file cannot be used.
        """

    @abstractmethod
    def read_prediction(self, files: Files, ground_truth: Truth) -> Pred:
        """Read the prediction for one sample.

        Raises:
            DataError: A file cannot be used.
        """

    def find_ground_truths(
        self, folder: str | Path, suffix: str | None = None, recursive: bool = False
    ) -> GroundTruths[Truth]:
        """List the ground truths in a folder.

        Args:
            folder: Folder of the files.
            suffix: Ending of their names that predictions lack (``'_mask.png'``); None: any image suffix.
            recursive: Look into subfolders.

        Raises:
            DataError: The folder cannot be read, holds no such files, or two files of one name.
        """
        folder = Path(folder).expanduser()
        return GroundTruths(folder, list_samples(folder, suffix, recursive), self.read_ground_truth, recursive)

    def find_predictions(
        self, source: str, ground_truths: GroundTruths[Truth], suffix: str | None = None, name: str | None = None
    ) -> Predictions[Pred, Truth]:
        """List the predictions in a folder.

        Args:
            source: Folder of the files.
            ground_truths: Ground truths that they are compared with.
            suffix: Ending of their names that ground truths lack; None: any image suffix.
            name: Name in tables; None: the folder's.

        Raises:
            DataError: The folder cannot be read, holds no such files, or two files of one name.
        """
        folder = Path(source).expanduser()
        files = list_samples(folder, suffix, ground_truths.recursive)
        return Predictions(source, name or folder.resolve().name, files, self.read_prediction)

    def conditions(self) -> str:
        """Describe the settings that scores depend on, for the printed heading; may be empty."""
        return ""


def list_samples(folder: Path, suffix: str | None, recursive: bool) -> dict[str, Files]:
    """List the image files of a folder, one for each sample, by name.

    Args:
        folder: Folder of the files.
        suffix: Ending to cut off names; None: any image suffix.
        recursive: Look into subfolders; names then hold them.

    Raises:
        DataError: The folder cannot be read, holds no such files, or two files of one name.
    """
    files, problems = list_files(folder, suffix, recursive)
    if problems:
        raise DataError(
            f"evaluate: {len(problems)} problems in {folder}:\n"
            + indented(f"{path} {problem}" for path, problem in problems.items())
        )
    if not files:
        wanted, ways = (f" that end in {suffix}", "another suffix or folder") if suffix else ("", "another folder")
        if not recursive and any(entry.is_dir() for entry in walk(folder)):
            ways += ", or pass --recursive to look into its subfolders"
        raise DataError(f"evaluate: {folder} holds no images{wanted}: name {ways}")
    return {name: (path,) for name, path in files.items()}


def score_image(protocol: Protocol[Pred, Truth], name: str, pred: Pred, ground_truth: Truth) -> ImageResult:
    """Call :meth:`Protocol.score` with errors that name the sample.

    It is a function of the module, so that workers can import it.

    Raises:
        DataError: The sample cannot be scored.
    """
    try:
        return protocol.score(pred, ground_truth)
    except ValueError as error:
        raise DataError(f"{protocol.name}: {name}: {error}") from error
