"""Record the finished images of a prediction run, so that an interrupted run can continue."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samplug.apis.prediction import MAPS, MASKS, OVERLAYS
from samplug.imaging.files import read_image, read_mask
from samplug.imaging.sources import Source
from samplug.utils.errors import DataError
from samplug.utils.files import WriteError, write_text

RECORDS = "predict_images.jsonl"


class PredictionRecords:
    """Record of the predicted images, one line of JSON each: size and time of the image and of its result files.

    Args:
        out: Folder of the predictions.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, out / RECORDS
        self._entries: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            self._read()

    def clear(self) -> None:
        """Delete the record, as when the settings change."""
        self.path.unlink(missing_ok=True)
        self._entries = {}

    def add(self, source: Source, facts: list[int] | None, files: Sequence[Path]) -> None:
        """Record a finished image.

        Args:
            source: The image.
            facts: :func:`facts_of` the image before it was read.
            files: Result files of the image.

        Raises:
            WriteError: The record cannot be written.
        """
        results = {path.relative_to(self.out).as_posix(): facts_of(path) for path in files}
        self._entries[source.name] = {"image": source.name, "facts": facts, "results": results}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._entries[source.name]) + "\n")
        except OSError as error:
            raise WriteError.of(self.path, error) from error

    def is_done(self, source: Source, overlay: bool) -> bool:
        """Return True if the image has not changed since it was predicted, and its results can be read.

        Comparing modification times is not enough: a replaced image may be older than the results. Results that were
        changed since, for example corrected by hand, are kept if they can be read.
        """
        entry = self._entries.get(source.name)
        if source.path is None or entry is None or entry.get("facts") != facts_of(source.path):
            return False
        kinds = [MASKS, MAPS, *([OVERLAYS] if overlay else [])]
        return all(self._is_whole(result_file(self.out, kind, source.name), entry) for kind in kinds)

    def _is_whole(self, path: Path | None, entry: dict[str, Any]) -> bool:
        if path is None:
            return False
        if facts_of(path) == entry["results"].get(path.relative_to(self.out).as_posix()):
            return True
        try:
            read_image(path) if path.suffix == ".jpg" else read_mask(path)
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
