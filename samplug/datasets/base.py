"""What datasets of files have in common: files are found, looked at before the run, split and reported in the same way."""

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

_LISTED = 20


class CheckedDataset(BaseDataset, ABC):
    """Base of datasets whose samples are files. A subclass finds them, examines them, and makes the entries of the data list.

    Args:
        data_root: Folder of the set.
        folders: The folders that errors name.
        check: ``'sample'``: 64 samples are read before the run, the others when their turn comes. ``'all'``: every one is.
        on_error: ``'stop'``, or ``'skip'``: files that cannot be used are left out, counted and listed in ``skipped``; reads every
            sample before the run.
        name: Name of the set in logs and metrics; default: that of ``data_root``'s folder.
        published: Facts of the published set, ``dict(images=..., split='test')``; another number of images is reported, and validating on a
            published test set is said at the start.
        part: None: all. ``'train'``, ``'val'`` or ``'test'``: see :class:`samplug.datasets.split.Split`.
        val_fraction: Expected share of the ``'val'`` part.
        test_fraction: Expected share of the ``'test'`` part.
        **kwargs: ``pipeline`` and the rest of MMEngine's ``BaseDataset``.
    """

    ITEMS = "images"
    """What messages call the samples."""

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
        self.name = name or data_root.resolve().name
        self.published = dict(published or {})
        self.part = part
        self.skipped: dict[str, str] = {}
        self.facts: dict[str, Any] = {}
        self.found = 0
        super().__init__(data_root=str(data_root), **kwargs)

    @abstractmethod
    def _find(self) -> tuple[Sequence[Any], dict[str, str]]:
        """The samples (see ``index.Item``) in their order, and what was found wrong: file or name -> what, and what to do."""

    @abstractmethod
    def _examine(self, items: Sequence[Any], sample: int | None) -> Mapping[str, Any]:
        """Facts by name of all samples, or of a part of them; each has ``error``."""

    @abstractmethod
    def _entry(self, item: Any) -> dict[str, Any]:
        """What the data list holds for a sample."""

    @abstractmethod
    def describe(self) -> str:
        """What the files that were read are like, in one line."""

    @classmethod
    def check_files(cls, settings: Mapping[str, Any]) -> FileCheck:
        """Read a dataset of this class whole, as the command ``check`` does.

        Args:
            settings: Its config.
        """
        return check_files(settings)

    def summary(self) -> str:
        """Return the number of samples that can be used and a description, for the title of a check."""
        return f"{len(self)} sound {self.ITEMS}, {self.describe()}"

    def remarks(self) -> list[str]:
        """Return lines on samples that can be used and look wrong."""
        return []

    def _group(self, item: Any) -> str:
        """The name that decides in which part a sample is."""
        return item.name

    def _reads_all(self) -> bool:
        return self.check == "all" or self.on_error == "skip"

    def load_data_list(self) -> list[dict[str, Any]]:
        items, problems = self._find()
        if problems and self.on_error == "stop":
            self._stop(problems)
        self.found = len(items)
        chosen = self.split.select(items, self._group)
        if items and not chosen:
            raise DataError(
                f"data: part={self.part!r} of {len(items)} {self.ITEMS} in {self.folders[0]} is empty: change val_fraction or test_fraction"
            )
        facts = dict(self._examine(chosen, None if self._reads_all() else SAMPLED))
        problems = problems | {name: fact.error for name, fact in facts.items() if fact.error}
        if problems and self.on_error == "stop":
            self._stop(problems)
        self.facts, self.skipped = facts, problems
        chosen = [item for item in chosen if item.name not in problems]
        if not chosen:
            self._stop(problems)
        self._report(len(chosen))
        return [self._entry(item) for item in chosen]

    def _require(self, name: str, value: Any, allowed: tuple[Any, ...]) -> None:
        if value not in allowed:
            raise ConfigError(f"{type(self).__name__}: {name}={value!r} is not one of {', '.join(map(repr, allowed))}")

    def _stop(self, problems: Mapping[str, str]) -> None:
        raise DataError(
            f"data: {len(problems)} problems in {self.name} ({', '.join(map(str, self.folders))}); mend them, or set on_error='skip' "
            f"to leave these files out:\n{_listed(problems)}"
        )

    def _report(self, used: int) -> None:
        part = f" ({self.part} part of {self.found})" if self.part else ""
        read = "all" if len(self.facts) >= used else len(self.facts)
        print_log(f"{self.name}: {used} images{part}, {self.describe()}; {read} read", "current")
        expected = self.published.get("images")
        if expected is not None and expected != self.found:
            print_log(
                f"{self.name}: the published set has {expected} images, {self.found} {self.ITEMS} are here",
                "current",
                30,
            )
        if self.skipped:
            print_log(f"{self.name}: {len(self.skipped)} files skipped:\n{_listed(self.skipped)}", "current", 30)


def _listed(problems: Mapping[str, str]) -> str:
    lines = [f"  {name}: {what}" for name, what in list(problems.items())[:_LISTED]]
    if len(problems) > _LISTED:
        lines.append(f"  and {len(problems) - _LISTED} more")
    return "\n".join(lines)
