"""Read the scalars of a run as MMEngine's ``LocalVisBackend`` logs them.

A training record has ``iter``. A validation record has none; its ``step`` is an iteration, or an epoch with
``LoggerHook(log_metric_by_epoch=True)``.
"""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from samplug.evaluation.choices import choices
from samplug.utils.errors import DataError
from samplug.utils.literals import literal

TRAIN, VAL = "train/", "val/"
_SCALARS = "scalars.json"
# Keys that give the position of a record; all others are measurements.
_POSITION = ("step", "iter", "epoch")


@dataclass(frozen=True)
class Point:
    """One logged value.

    Attributes:
        step: Number of iterations done.
        epoch: Number of the last logged epoch, from 1; None if the run does not count epochs.
        key: ``'train/...'`` or ``'val/...'``.
        value: May be NaN.
    """

    step: int
    epoch: int | None
    key: str
    value: float


@dataclass
class RunLog:
    """Logged scalars of a run; the segments of a resumed run are joined.

    Attributes:
        name: Name of the run.
        points: Logged values in the order of their steps.
        notes: Notes on problems in the logs.
        chosen_by: Metrics that decide on checkpoints, early stopping or learning rates, see
            :func:`samplug.evaluation.choices.choices`.
        recorded_seconds: Total time of the segments, from ``run.json``; None if a segment has no recorded end.
    """

    name: str
    points: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chosen_by: list[str] = field(default_factory=list)
    recorded_seconds: float | None = None

    def series(self, key: str) -> list[Point]:
        """Return the points of one key."""
        return [point for point in self.points if point.key == key]

    @property
    def keys(self) -> list[str]:
        """All keys in the order in which they were first logged."""
        return list(dict.fromkeys(point.key for point in self.points))

    @property
    def last_step(self) -> int:
        return max(point.step for point in self.points)

    @property
    def seconds_per_iteration(self) -> float | None:
        """Median of the logged training times, loading included; None if there are none."""
        times = [point.value for point in self.series(f"{TRAIN}time")]
        return median(times) if times else None


def read_run(folder: Path, name: str | None = None) -> RunLog:
    """Read all segments under a work directory, or the one of a log folder (``work_dir/TIMESTAMP``).

    A later segment replaces all that earlier ones logged from its first step on.

    Raises:
        DataError: No such folder, or nothing in it was logged by a training or validation.
    """
    if not folder.is_dir():
        raise DataError(f"logs: {folder} is not a folder: name a work directory of tools/train.py")
    run = RunLog(name or folder.resolve().name)
    # Names are start times, so sorting puts them in order.
    places = sorted([folder] if (folder / "vis_data").is_dir() else folder.glob("*"))
    segments = [(place, points) for place in places if (points := _read_segment(place / "vis_data", run.notes))]
    trained = [(place, points) for place, points in segments if any(point.key.startswith(TRAIN) for point in points)]
    if not segments:
        raise DataError(
            f"logs: {folder} has no {_SCALARS} in */vis_data or vis_data: name the work directory of a training (that "
            "was run with LocalVisBackend; a test logs no scalars)"
        )
    segments = trained or segments  # a validation on its own has step 0, though it comes after a training
    for place, points in segments:
        first = min(point.step for point in points)
        if dropped := {point.step for point in run.points if point.step >= first}:
            run.notes.append(
                f"{place.name} goes on from step {first}: replaces {len(dropped)} logged steps from there on"
            )
        run.points = [point for point in run.points if point.step < first] + sorted(points, key=lambda p: p.step)
    run.chosen_by = _chosen_by(segments[-1][0])
    run.recorded_seconds = _recorded_seconds([place for place, _ in segments])
    return run


def _read_segment(folder: Path, notes: list[str]) -> list[Point]:
    if not folder.is_dir():
        return []
    scalars = folder / _SCALARS
    # Each training has its own TIMESTAMP.json too, with the same records.
    files = [scalars] if scalars.is_file() else sorted(folder.glob("*.json"))
    points: list[Point] = []
    step, epoch = 0, None
    for file in files:
        for record in _records(file, notes):
            training = "iter" in record
            # The step of a validation may be an epoch; it gets the last step of the training.
            step = int(record.get("step", step)) if training else max(step, int(record.get("step", step)))
            epoch = record.get("epoch", epoch)
            prefix = TRAIN if training else VAL
            for key, value in record.items():
                if key not in _POSITION and isinstance(value, int | float):
                    full = key if re.match(f"{TRAIN}|{VAL}", key) else f"{prefix}{key}"
                    points.append(Point(step, epoch, full, float(value)))
    return points


def _records(file: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            yield record
        elif line.strip():
            notes.append(f"{file} line {number} is cut off, as after a kill: skipped")


def resolved_config(place: Path) -> dict[str, Any]:
    """Read the config that a run wrote into its log folder ``place``; empty without a readable file.

    The config consists of literals; it is parsed, not executed.
    """
    cfg: dict[str, Any] = {}
    with suppress(OSError, ValueError, SyntaxError):
        for statement in ast.parse((place / "vis_data" / "config.py").read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                with suppress(ValueError):
                    cfg[statement.targets[0].id] = literal(statement.value)
    return cfg


def _chosen_by(place: Path) -> list[str]:
    """Return the deciding metrics of the resolved config in a log folder; empty without a readable config."""
    return list(dict.fromkeys(metric for _, metric in choices(resolved_config(place))))


def _recorded_seconds(places: Sequence[Path]) -> float | None:
    from samplug.engine.hooks.run_record import RECORD

    total = 0.0
    for place in places:
        try:
            total += sum(
                run["seconds"] for run in json.loads((place / RECORD).read_text())["runs"] if run["kind"] != "test"
            )
        except (OSError, ValueError, KeyError):  # killed, or written by another package
            return None
    return total
