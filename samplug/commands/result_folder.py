"""Folder of a command's results for many images, so that an interrupted run can go on."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplug.commands.prediction_records import PredictionRecords
from samplug.imaging.sources import Source, find_sources
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.files import read_json, write_text
from samplug.utils.text import listed

_LONGEST_NAME = 255


@dataclass(frozen=True)
class ResultFolder:
    """Folder of a command's results: ``COMMAND.json`` keeps its settings, ``COMMAND_images.jsonl`` the finished images.

    Attributes:
        command: Name of the command, for files and messages.
        path: The folder.
    """

    command: str
    path: Path

    @property
    def records(self) -> PredictionRecords:
        """The images that are done, read anew."""
        return PredictionRecords(self.path, f"{self.command}_images.jsonl")

    def plan(self, images: Sequence[str | Path], recursive: bool, names: Mapping[str, str]) -> list[Source]:
        """List all images before the work.

        Args:
            images: Files and folders.
            recursive: Look into subfolders.
            names: Kind of result -> longest name of its files, with ``{}`` for the last part of the image's name.

        Raises:
            DataError: No images, two whose results would have one name, or a name that is too long for a file system.
            ConfigError: The folder lies in a folder of images.
        """
        paths = [Path(path).expanduser() for path in images]
        if paths and not any(path.exists() for path in paths):  # before a model is built
            raise DataError(f"{self.command}: {listed(map(str, paths), 3)} does not exist: name image files or folders")
        for path in paths:
            place = path.resolve()
            if recursive and place in (self.path.resolve() / "x").parents:
                raise ConfigError(
                    f"{self.command}: {self.path} lies in {path}, a later run would predict masks: choose another "
                    "--out-dir"
                )
        sources = list(find_sources(images, recursive))
        first_of: dict[str, Source] = {}
        for source in sources:
            first = first_of.setdefault(source.name, source)
            if first is not source:
                raise DataError(
                    f"{self.command}: {first.path} and {source.path} would both be written as {source.name}: predict "
                    "them into different folders, or rename one"
                )
        self._check_lengths(sources, names)
        return sources

    def _check_lengths(self, sources: Sequence[Source], names: Mapping[str, str]) -> None:
        for source in sources:
            stem = len(os.fsencode(Path(source.name).name))
            for kind, name in names.items():
                length = stem + len(name) - len("{}")
                if length > _LONGEST_NAME:
                    raise DataError(
                        f"{self.command}: {source.path}: the file {Path(name).suffix} of {kind} would have a name of "
                        f"{length} bytes, and file systems take {_LONGEST_NAME} bytes: shorten the name"
                    )

    def exports(self, formats: Sequence[str], overwrite: bool) -> dict[str, Path]:
        """Return the folder of each export format.

        Raises:
            DataError: One exists and ``overwrite`` is False.
        """
        folders = {format: self.path / format for format in formats}
        for folder in folders.values():
            if folder.exists() and not overwrite:
                raise DataError(
                    f"{self.command}: {folder} exists, perhaps with corrections: move it away, or pass --overwrite"
                )
        return folders

    def has_begun(self, stamp: Mapping[str, Any], overwrite: bool) -> bool:
        """Return True if the folder has results of these settings.

        Raises:
            ConfigError: It has results of others, and ``overwrite`` is False.
        """
        path = self._settings
        if overwrite or not path.is_file():
            return False
        before = read_json(path)
        if not isinstance(before, dict):
            raise DataError(
                f"{self.command}: {path} does not hold settings of predictions: remove it, or pass --overwrite"
            )
        changed = [name for name in {**before, **stamp} if before.get(name) != stamp.get(name)]
        if changed:
            raise ConfigError(
                f"{self.command}: {self.path} holds predictions of other settings ({', '.join(changed)} changed, see "
                f"{path}): choose another --out-dir, or pass --overwrite"
            )
        return True

    def begin(self, stamp: Mapping[str, Any], records: PredictionRecords) -> None:
        """Write the settings, and forget the images that are done."""
        records.clear()
        write_text(self._settings, json.dumps(stamp, indent=1) + "\n")

    @property
    def _settings(self) -> Path:
        return self.path / f"{self.command}.json"


def stamp_of(values: Mapping[str, Any], cfg: Any, checkpoint: str) -> dict[str, Any]:
    """Return settings for json, with a hash of the loaded config and the checkpoint's size and time."""
    path = Path(checkpoint).expanduser()
    state = path.stat() if path.is_file() else None
    content = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
    stamp = {
        **values,
        "content_of_config": hashlib.sha256(content.encode()).hexdigest(),
        "state_of_checkpoint": [state.st_size, state.st_mtime_ns] if state else None,
    }
    return json.loads(json.dumps(stamp, default=str))
