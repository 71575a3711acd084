"""Base class of datasets of files: find the files, check them before the run, split them and report on them."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from samplug.datasets.file_check import FileCheck, check_files
from samplug.datasets.scan_cache import SAMPLED
from samplug.datasets.split import Part, Split
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.text import listed_lines, printable


class CheckedDataset(BaseDataset, ABC):
    """Base class of datasets whose samples are files.

    A subclass finds the files, checks them and makes the entries of the data list.

    Args:
        data_root: Folder of the dataset.
        folders: Folders to name in error messages.
        check: Samples to read before the run: ``'sample'`` for 64 samples, ``'all'`` for every sample. The others are
            checked when they are loaded.
        on_error: ``'stop'`` raises an error for files that cannot be used. ``'skip'`` leaves them out, counts them and
            lists them in ``skipped``; it reads every sample before the run.
        name: Name of the dataset in logs and metrics; by default the name of the folder ``data_root``.
        published: Facts about the published dataset, ``dict(images=..., split='test')``. A different number of images
            is logged, and so is validation on a published test set.
        part: ``'train'``, ``'val'`` or ``'test'`` selects one part, see :class:`samplug.datasets.split.Split`; None
            uses all samples.
        val_fraction: Share of samples in the ``'val'`` part.
        test_fraction: Share of samples in the ``'test'`` part.
        **kwargs: ``pipeline`` and the other arguments of MMEngine's ``BaseDataset``.
    """

    ITEMS = "images"
    """Name of the samples in messages."""

    def __init__(
        self,
        data_root: Path,
        folders: Sequence[Path],
        check: Literal["sample", "all"] = "sample",
        on_error: Literal["stop", "skip"] = "stop",
        name: str | None = None,
        published: Mapping[str, Any] | None = None,
        part: Part | None = None,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self._require("check", check, ("sample", "all"))
        self._require("on_error", on_error, ("stop", "skip"))
        self.split = Split(part, val_fraction, test_fraction)
        self.folders = list(dict.fromkeys(folders))
        self.check, self.on_error = check, on_error
        self.name = name or printable(data_root.resolve().name)
        self.published = dict(published or {})
        self.part = part
        self.skipped: dict[str, str] = {}
        self.facts: dict[str, Any] = {}
        self.found = self.used = 0
        super().__init__(data_root=str(data_root), **kwargs)

    @abstractmethod
    def _find(self) -> tuple[Sequence[Any], dict[str, str]]:
        """Find the samples, see :class:`samplug.datasets.scan_cache.FileSample`.

        Returns:
            The samples in order, and the problems: file or name -> problem and remedy.
        """

    @abstractmethod
    def _examine(self, items: Sequence[Any], sample: int | None) -> Mapping[str, Any]:
        """Read ``sample`` of the items (None: all). Return facts by name; each has the attribute ``error``."""

    @abstractmethod
    def _entry(self, item: Any) -> dict[str, Any]:
        """Return the entry of the data list for a sample."""

    @abstractmethod
    def describe(self) -> str:
        """Describe the files that were read, in one line."""

    @classmethod
    def check_files(cls, settings: Mapping[str, Any]) -> FileCheck:
        """Read a dataset of this class whole, as the command ``check`` does.

        Args:
            settings: Its config.
        """
        return check_files(settings)

    def summary(self) -> str:
        """Describe the dataset in one line: number of usable samples, selected part, facts about the files."""
        part = f" ({self.part} part of {self.found})" if self.part else ""
        return f"{self.used} images{part}, {self.describe()}"

    def remarks(self) -> list[str]:
        """Return lines on samples that can be used and look wrong."""
        return []

    def _group(self, item: Any) -> str:
        """Return the name whose hash decides on the part of a sample."""
        return item.name

    def _part_of(self, items: Sequence[Any]) -> list[Any]:
        """Select the samples of the part."""
        return self.split.select(items, self._group)

    def _chosen(self, items: list[Any]) -> list[Any]:
        """Select the samples of the dataset among those of the part that can be used, at least one."""
        return items

    def _reads_all(self) -> bool:
        return self.check == "all" or self.on_error == "skip"

    def load_data_list(self) -> list[dict[str, Any]]:
        items, problems = self._find()
        if problems and self.on_error == "stop":
            self._stop(problems)
        self.found = len(items)
        chosen = self._part_of(items)
        if items and not chosen:
            self._stop_at_empty_part(items)
        facts = dict(self._examine(chosen, None if self._reads_all() else SAMPLED))
        problems = problems | {name: fact.error for name, fact in facts.items() if fact.error}
        if problems and self.on_error == "stop":
            self._stop(problems)
        self.facts, self.skipped = facts, problems
        chosen = [item for item in chosen if item.name not in problems]
        if not chosen:
            self._stop(problems)
        chosen = self._chosen(chosen)
        self.used = len(chosen)
        self._report()
        return [self._entry(item) for item in chosen]

    def _require(self, name: str, value: Any, allowed: tuple[Any, ...]) -> None:
        if value not in allowed:
            raise ConfigError(f"{type(self).__name__}: {name}={value!r} is not one of {', '.join(map(repr, allowed))}")

    def _stop(self, problems: Mapping[str, str]) -> None:
        raise DataError(
            f"data: {len(problems)} problems in {self.name} ({', '.join(map(str, self.folders))}); fix them, or set "
            f"on_error='skip' to leave these files out:\n{listed_lines(problems)}"
        )

    def _stop_at_empty_part(self, items: Sequence[Any]) -> None:
        remedy = "set test_fraction"
        if self.part != "test" or self.split.test_fraction:
            names = len(set(map(self._group, items)))
            remedy = f"too few to split ({names}): add some, or use a separate folder for each part"
        raise DataError(
            f"data: part={self.part!r} of {len(items)} {self.ITEMS} in {self.folders[0]} is empty: {remedy}"
        )

    def _report(self) -> None:
        read = "all" if len(self.facts) >= self.used else len(self.facts)
        print_log(f"{self.name}: {self.summary()}; {read} read", "current")
        expected = self.published.get("images")
        if expected is not None and expected != self.found:
            text = f"{self.name}: the published dataset has {expected} images, this one has {self.found} {self.ITEMS}"
            print_log(text, "current", logging.WARNING)
        if self.skipped:
            print_log(
                f"{self.name}: {len(self.skipped)} files skipped:\n{listed_lines(self.skipped)}",
                "current",
                logging.WARNING,
            )
