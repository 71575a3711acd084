"""Reading a set's files once, ahead of the run, and remembering what was found.

Results are kept in an index file. An entry counts only as long as all files of a sample have the size and the modification time they had.
"""

import contextlib
import hashlib
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.progress import track

from samplug.utils.cache import cache_dir
from samplug.utils.errors import DataError
from samplug.utils.files import write_text

SAMPLED = 64
_SHOW_PROGRESS_FROM = 500
_VERSION = 3


class Item(Protocol):
    """A sample of a set, by its files."""

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> tuple[Path, ...]: ...


_Item = TypeVar("_Item", bound=Item)
_Facts = TypeVar("_Facts")


def examine_files(
    items: Sequence[_Item],
    examine: Callable[[_Item], _Facts],
    facts_type: Callable[..., _Facts],
    settings: Any,
    sample: int | None = SAMPLED,
) -> dict[str, _Facts]:
    """Facts of the items by name, or of a seeded sample of them.

    Args:
        items: All samples of the set, of different names.
        examine: Reads the files of one; called from several threads.
        facts_type: The dataclass that it returns, with fields that json knows.
        settings: What the facts depend on beside the files, ready for json.
        sample: Number of items to read; None: all.
    """
    if sample is not None and len(items) > sample:
        items = random.Random(0).sample(list(items), sample)
    index = _Index(items, [facts_type.__name__, settings])
    stamps = {item.name: _stamp(item) for item in items}
    facts: dict[str, Any] = {}
    for item in items:
        known = index.get(item.name, stamps[item.name])
        facts[item.name] = None if known is None else facts_type(**known)
    unknown = [item for item in items if facts[item.name] is None]
    if unknown:
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # OpenCV decodes without the interpreter's lock
            found = threads.map(examine, unknown)
            quiet = len(unknown) < _SHOW_PROGRESS_FROM
            for item, result in zip(
                unknown, track(found, "checking files", total=len(unknown), disable=quiet, transient=True), strict=True
            ):
                facts[item.name] = result
        index.update({item.name: (stamps[item.name], facts[item.name]) for item in unknown})
    return facts


class _Index:
    """Facts of an earlier run, in a file named by the set's files' folders and settings."""

    def __init__(self, items: Sequence[Item], settings: Any) -> None:
        folders = sorted({str(path.parent.absolute()) for item in items for path in item.files})
        identity = json.dumps([_VERSION, folders, settings], sort_keys=True)
        self.path = cache_dir() / "index" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.json"
        self.entries: dict[str, Any] = {}
        try:
            self.entries = json.loads(self.path.read_text())
        except (OSError, ValueError):  # none yet, or not readable: made anew
            self.entries = {}

    def get(self, name: str, stamp: list[int] | None) -> dict[str, Any] | None:
        entry = self.entries.get(name)
        return None if stamp is None or not entry or entry["stamp"] != stamp else entry["facts"]

    def update(self, found: Mapping[str, tuple[list[int] | None, Any]]) -> None:
        for name, (stamp, facts) in found.items():
            if stamp is not None:
                self.entries[name] = {"stamp": stamp, "facts": asdict(facts)}
        with contextlib.suppress(DataError):  # nowhere to keep it: the next run reads the files again
            write_text(self.path, json.dumps(self.entries))


def _stamp(item: Item) -> list[int] | None:
    """Size and modification time of all files; None if one cannot be asked."""
    try:
        stats = [path.stat() for path in item.files]
    except OSError:
        return None
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]
