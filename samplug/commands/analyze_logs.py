"""Draw curves and print a table of the training logs of one or more runs.

The curves are in curves.png, their values in curves.csv. A run that was interrupted and resumed in a work directory is
one run.
"""

import argparse
import fnmatch
import math
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from samplug.commands.run_logs import TRAIN, VAL, Point, RunLog, read_run
from samplug.evaluation.directions import rule_of
from samplug.evaluation.report import write_csv
from samplug.utils.errors import ConfigError
from samplug.utils.text import listed
from samplug.visualization.curves import draw_curves

# Keys without a better or worse value.
_CONDITIONS = frozenset({"lr", "base_lr", "momentum", "time", "data_time", "memory", "grad_norm"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="[NAME=]RUN", help="work directory, or one log folder in it")
    parser.add_argument(
        "--keys",
        nargs="+",
        metavar="KEY",
        help="keys to draw and list, such as loss, val/S, 'CAMO/*', '*' (default: the training loss and the metrics "
        "that decide on the best checkpoint, early stopping or the learning rate)",
    )
    parser.add_argument("--out-dir", metavar="DIR", help="default: the run's folder, or ./curves for several runs")
    parser.add_argument("--smooth", type=int, default=1, metavar="K", help="draw training keys as means of K records")
    parser.add_argument("--title", default="", help="title of the picture")


def execute(args: argparse.Namespace) -> None:
    if args.smooth < 1:
        raise argparse.ArgumentError(None, "--smooth must be at least 1")
    runs = _read(args.runs)
    keys = select(runs, args.keys)
    out = Path(args.out_dir or (runs[0][1] if len(runs) == 1 else "curves"))
    logs = [log for log, _ in runs]
    for log in logs:
        for note in log.notes:
            print(f"note: {log.name}: {note}")
    print(f"\n{table(logs, keys)}\n")
    if args.keys is None and (others := [key for key in _known(runs) if key not in keys]):
        print(f"not shown (--keys): {listed(sorted(others, key=lambda key: not key.startswith(VAL)), 20)}")
    write_csv(out / "curves.csv", csv_lines(logs, keys))
    draw_curves(
        {log.name: {key: _curve(log.series(key)) for key in keys} for log in logs},
        out / "curves.png",
        smooth={key: args.smooth for key in keys if key.startswith(TRAIN)},
        title=args.title,
    )
    print(f"{out / 'curves.png'}, {out / 'curves.csv'}")


def _read(arguments: Sequence[str]) -> list[tuple[RunLog, Path]]:
    runs: dict[str, tuple[RunLog, Path]] = {}
    for argument in arguments:
        given, separator, rest = argument.partition("=")
        name, folder = (given, Path(rest)) if separator and not Path(argument).exists() else ("", Path(argument))
        run = read_run(folder, name or None)
        if run.name in runs:
            raise ConfigError(f"logs: two runs are called {run.name!r}: name them, as a={runs[run.name][1]} b={folder}")
        runs[run.name] = run, folder
    return list(runs.values())


def select(runs: Sequence[tuple[RunLog, Path]], wanted: Sequence[str] | None) -> list[str]:
    """Select the keys to show.

    Args:
        runs: Runs and their folders.
        wanted: Names or shell patterns, with or without ``train/`` and ``val/``; None: the training loss and the
            metrics that decided on checkpoints, early stopping or learning rates, or the first metric if none is known.

    Raises:
        ConfigError: No run has such a key.
    """
    known = _known(runs)
    if wanted is None:
        metrics = [key for key in known if key.startswith(VAL) and key.removeprefix(VAL) not in _CONDITIONS]
        chosen_by = {f"{VAL}{metric}" for run, _ in runs for metric in run.chosen_by}
        chosen_metrics = [key for key in metrics if key in chosen_by] or metrics[:1]  # save_best='auto': the first
        return [key for key in known if key == f"{TRAIN}loss"] + chosen_metrics or known
    chosen: dict[str, None] = {}
    for pattern in wanted:
        matching = [key for key in known if any(fnmatch.fnmatchcase(k, pattern) for k in (key, key.partition("/")[2]))]
        if not matching:
            raise ConfigError(f"logs: no run has the key {pattern!r}; there are {', '.join(known)}")
        chosen |= dict.fromkeys(matching)
    return list(chosen)


def _known(runs: Sequence[tuple[RunLog, Path]]) -> list[str]:
    return list(dict.fromkeys(key for run, _ in runs for key in run.keys))


def lower_is_better(key: str) -> bool | None:
    """Return the direction of a key, with or without prefixes; None if it has none."""
    name = key.rpartition("/")[2]
    if name in _CONDITIONS:
        return None
    return rule_of(name) == "less"


def best(points: Sequence[Point]) -> Point | None:
    """Return the best point of a key, the first of equal ones; None without a direction or a finite value."""
    finite = [point for point in points if math.isfinite(point.value)]
    if not finite or (lower := lower_is_better(finite[0].key)) is None:
        return None
    return (min if lower else max)(finite, key=lambda point: point.value)


def csv_lines(runs: Sequence[RunLog], keys: Sequence[str]) -> list[list[str]]:
    """Return a header and a line for each value: run, step, epoch, key, value."""
    lines = [["run", "step", "epoch", "key", "value"]]
    for run in runs:
        for point in run.points:
            if point.key in keys:
                epoch = "" if point.epoch is None else str(point.epoch)
                lines.append([run.name, str(point.step), epoch, point.key, repr(point.value)])
    return lines


def table(runs: Sequence[RunLog], keys: Sequence[str]) -> str:
    """Return the last and best values and the times as two Markdown tables."""
    values = [["run", "key", "last", "at step", "best", "at step"]]
    times = [["run", "steps", "s / iteration", "total time"]]
    for run in runs:
        for key in keys:
            if points := run.series(key):
                top = best(points)
                last = [_number(points[-1].value), str(points[-1].step)]
                values.append([run.name, key, *last, *([_number(top.value), str(top.step)] if top else ["-", "-"])])
        speed = run.seconds_per_iteration
        times.append([run.name, str(run.last_step), "-" if speed is None else _number(speed), _total(run)])
    return f"{_aligned(values)}\n\n{_aligned(times)}"


def _total(run: RunLog) -> str:
    if run.recorded_seconds is not None:
        return str(timedelta(seconds=round(run.recorded_seconds)))
    if run.seconds_per_iteration is None:
        return "-"
    return f"about {timedelta(seconds=round(run.seconds_per_iteration * run.last_step))} of training"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _curve(points: Sequence[Point]) -> tuple[list[int], list[float]]:
    return [point.step for point in points], [point.value for point in points]
