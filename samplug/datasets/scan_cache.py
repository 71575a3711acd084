"""Check the files of a dataset before the run, and cache the results on disk.

A cached entry is used as long as no file of the sample changes its size or modification time. Errors are not cached:
another right to read, or another limit, mends them without a change of the file.
"""

import hashlib
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.progress import track

from samplug.imaging.limits import most_pixels
from samplug.utils.cache import cache_dir
from samplug.utils.errors import DataError
from samplug.utils.files import write_text

SAMPLED = 64
_SHOW_PROGRESS_FROM = 500
_VERSION = 5


class FileSample(Protocol):
    """A sample that consists of files: ``name`` and ``files``."""

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> tuple[Path, ...]: ...


_Sample = TypeVar("_Sample", bound=FileSample)
_Facts = TypeVar("_Facts")


def examine_files(
    items: Sequence[_Sample],
    examine: Callable[[_Sample], _Facts],
    facts_type: Callable[..., _Facts],
    settings: Any,
    sample: int | None = SAMPLED,
) -> dict[str, _Facts]:
    """Read samples and return their facts by name.

    Args:
        items: All samples of the dataset, with unique names.
        examine: Function that reads the files of a sample; called from several threads.
        facts_type: Dataclass that ``examine`` returns, with fields that JSON can represent and the field ``error``.
        settings: Settings that the facts depend on besides the files, ready for JSON.
        sample: Number of items to read, a seeded random sample; None reads all.
    """
    if sample is not None and len(items) > sample:
        items = random.Random(0).sample(list(items), sample)
    cache = _ScanCache(items, [facts_type.__name__, settings])
    stamps = {item.name: _stamp(item) for item in items}
    facts: dict[str, Any] = {}
    for item in items:
        known = cache.get(item.name, stamps[item.name])
        facts[item.name] = None if known is None else facts_type(**known)
    unknown = [item for item in items if facts[item.name] is None]
    if unknown:
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # OpenCV releases the interpreter's lock
            found = threads.map(examine, unknown)
            quiet = len(unknown) < _SHOW_PROGRESS_FROM
            for item, result in zip(
                unknown, track(found, "checking files", total=len(unknown), disable=quiet, transient=True), strict=True
            ):
                facts[item.name] = result
        cache.update(
            {item.name: (stamps[item.name], facts[item.name]) for item in unknown if not facts[item.name].error}
        )
    return facts


class _ScanCache:
    """Facts of earlier runs, in a file named by a hash of the folders and the settings."""

    def __init__(self, items: Sequence[FileSample], settings: Any) -> None:
        folders = sorted({str(path.parent.absolute()) for item in items for path in item.files})
        identity = json.dumps([_VERSION, most_pixels(), folders, settings], sort_keys=True)
        self.path = cache_dir() / "index" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.json"
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # missing or not readable: start anew
            entries = None
        self.entries: dict[str, Any] = entries if isinstance(entries, dict) else {}

    def get(self, name: str, stamp: list[int] | None) -> dict[str, Any] | None:
        entry = self.entries.get(name)
        return None if stamp is None or not entry or entry["stamp"] != stamp else entry["facts"]

    def update(self, found: Mapping[str, tuple[list[int] | None, Any]]) -> None:
        for name, (stamp, facts) in found.items():
            if stamp is not None:
                self.entries[name] = {"stamp": stamp, "facts": asdict(facts)}
        with suppress(DataError):  # if it cannot be written, the next run reads the files again
            write_text(self.path, json.dumps(self.entries))


def _stamp(item: FileSample) -> list[int] | None:
    """Return size and modification time of all files; None if one cannot be read."""
    try:
        stats = [path.stat() for path in item.files]
    except OSError:
        return None
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]
