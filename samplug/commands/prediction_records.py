"""Record the finished images of a folder of results, so that an interrupted run can continue."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from samplug.apis.prediction import OVERLAYS
from samplug.imaging.files import read_image, read_mask
from samplug.imaging.sources import Source
from samplug.utils.errors import DataError
from samplug.utils.files import WriteError, read_json, write_text


class PredictionRecords:
    """Record of the finished images, one line of JSON each: size and time of the image and of its result files.

    Args:
        out: Folder of the results.
        name: Name of the file of records in it.
    """

    def __init__(self, out: Path, name: str = "predict_images.jsonl") -> None:
        self.out, self.path = out, out / name
        self._entries: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            self._read()

    def clear(self) -> None:
        """Delete the record, as when the settings change."""
        self.path.unlink(missing_ok=True)
        self._entries = {}

    def add(self, source: Source, facts: list[int] | None, files: Sequence[Path], **more: Any) -> None:
        """Record that an image is done.

        Args:
            source: The image.
            facts: Its :func:`facts_of` before it was read.
            files: Its result files.
            **more: Further values for :meth:`values`.

        Raises:
            WriteError: The record cannot be written.
        """
        results = {path.relative_to(self.out).as_posix(): facts_of(path) for path in files}
        self._entries[source.name] = {"image": source.name, "facts": facts, "results": results, **more}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._entries[source.name]) + "\n")
        except OSError as error:
            raise WriteError.of(self.path, error) from error

    def values(self, source: Source) -> dict[str, Any]:
        """Return what was recorded of an image; empty if it is not done, or is another one now."""
        entry = self._entries.get(source.name)
        current = source.path is not None and entry is not None and entry.get("facts") == facts_of(source.path)
        return entry if current and entry is not None else {}

    def is_done(self, source: Source, files: Iterable[Path | None]) -> bool:
        """Return True if the image is the one that was recorded, and its results are whole.

        The time of a file alone decides nothing: an image that is exchanged may be older than its results. Results
        that were changed since, say corrected by hand, are left alone if they can be read.

        Args:
            source: The image.
            files: Result files that it needs; None: one that is missing.
        """
        entry = self.values(source)
        return bool(entry) and all(self._is_whole(path, entry) for path in files)

    def _is_whole(self, path: Path | None, entry: dict[str, Any]) -> bool:
        if path is None:
            return False
        facts = facts_of(path)
        if facts is None or facts == entry["results"].get(path.relative_to(self.out).as_posix()):
            return facts is not None
        try:
            _READERS.get(path.suffix, read_mask)(path)
        except DataError:
            return False
        return True

    def _read(self) -> None:
        torn = False
        for line in self.path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            if _is_entry(entry):
                self._entries[entry["image"]] = entry
            else:  # incomplete last line of a killed run
                torn = True
        if torn:
            write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in self._entries.values()))


def _is_entry(value: Any) -> bool:
    kinds = {"image": str, "facts": list | None, "results": dict}
    return isinstance(value, dict) and all(isinstance(value.get(key, ...), kind) for key, kind in kinds.items())


_READERS: dict[str, Callable[[Path], Any]] = {".jpg": read_image, ".json": read_json}


def facts_of(path: Path) -> list[int] | None:
    """Return size in bytes and modification time in nanoseconds of a file; None if it cannot be read."""
    try:
        state = path.stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]


def result_file(out: Path, kind: str, name: str) -> Path | None:
    """Return the result file of an image in a folder (``MASKS``, ``MAPS``, ``OVERLAYS``); None if there is none."""
    suffixes = (".jpg",) if kind == OVERLAYS else (".png", ".tif")
    return next((path for suffix in suffixes if (path := out / kind / f"{name}{suffix}").is_file()), None)
