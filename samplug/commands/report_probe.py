"""Compare linear probes: table, bars, accuracy of each class, and confusions.

Reads the tests in the work directories. Published scores are shown below a run on all images of ImageNet-1k val, and
nowhere else. --baselines adds guessing and colour histograms on the training and test images of a config. Files in the
output folder: probes.json, probes.csv, probes.png, classes.csv, confusions.csv.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from samplug.commands.common import add_cfg_options
from samplug.commands.probe_runs import ProbeRun, read_probe
from samplug.evaluation.protocols import Scores
from samplug.evaluation.report import aligned, write_csv
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.files import write_text
from samplug.visualization.bars import draw_bars

_WORST, _CONFUSIONS = 20, 10  # printed classes, printed confusions
_FILES = ("probes.png", "probes.json", "probes.csv", "classes.csv", "confusions.csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="[NAME=]WORK_DIR", help="work directory of tools/test.py")
    parser.add_argument(
        "--baselines", metavar="CONFIG", help="score guessing and colour histograms on this config's images"
    )
    add_cfg_options(parser)
    parser.add_argument("--out-dir", default="probes", metavar="DIR", help="default: probes")


def execute(args: argparse.Namespace) -> None:
    if not args.runs and not args.baselines:
        raise argparse.ArgumentError(None, "give work directories of tests, or --baselines CONFIG")
    out = Path(args.out_dir)
    runs, problems = _read(args.runs)
    baselines = _baselines(args.baselines, args.cfg_options) if args.baselines else {}
    _write(out, runs, baselines)
    for problem in (*problems, *(f"{run.name}: {note}" for run in runs for note in run.notes)):
        print(f"note: {problem}")
    print(f"\n{runs_table(runs, baselines)}\n")
    if any(run.classes for run in runs):
        print(f"{classes_table(runs)}\n")
        print(f"{confusions_table(runs)}\n")
    print(", ".join(str(out / name) for name in _FILES))


def _read(arguments: Sequence[str]) -> tuple[list[ProbeRun], list[str]]:
    """Return the runs, and the reasons why others have none.

    Raises:
        ConfigError: Two runs have one name.
        DataError: No argument has a run.
    """
    runs: dict[str, ProbeRun] = {}
    problems: list[str] = []
    for argument in arguments:
        given, separator, rest = argument.partition("=")
        name, folder = (given, Path(rest)) if separator and not Path(argument).exists() else ("", Path(argument))
        try:
            run = read_probe(folder, name or None)
        except DataError as error:
            problems.append(str(error).removeprefix("probe: "))
            continue
        if run.name in runs:
            raise ConfigError(f"probe: two runs are called {run.name!r}: name them, as a={folder}")
        runs[run.name] = run
    if problems and not runs:
        more = f" (and {len(problems) - 1} more without scores)" if len(problems) > 1 else ""
        raise DataError(f"probe: {problems[0]}{more}")
    return list(runs.values()), problems


def _baselines(config: str, options: Mapping[str, Any]) -> dict[str, Scores]:
    """Score the baselines on the images of a config.

    Raises:
        ConfigError: The config has no training and test set of classes.
    """
    from mmengine.registry import init_default_scope

    from samplug.config import load_config
    from samplug.datasets.configs import datasets_of
    from samplug.engine.build_errors import named_in
    from samplug.evaluation.class_baselines import class_baselines
    from samplug.registry import DATASETS

    cfg = load_config(config, options)
    init_default_scope(cfg.get("default_scope", "samplug"))
    chosen = []
    for phase in ("train", "test"):
        sets = list(datasets_of((cfg.get(f"{phase}_dataloader") or {}).get("dataset")))
        sets = [one for one in sets if one.get("type") == "ImageFolderDataset" and not one.get("bank")]
        if len(sets) != 1:
            raise ConfigError(
                f"probe: {config} has {len(sets)} {phase} sets of the type ImageFolderDataset, --baselines needs one"
            )
        with named_in(cfg):
            chosen.append(DATASETS.build({**sets[0], "pipeline": []}))
    return class_baselines(*chosen)


def _write(out: Path, runs: Sequence[ProbeRun], baselines: Mapping[str, Scores]) -> None:
    content = dict(runs={run.name: asdict(run) for run in runs}, baselines=baselines)
    write_text(out / "probes.json", json.dumps(content, indent=1))
    rows = {**{run.name: run.scores for run in runs}, **baselines}
    columns = _columns(rows)
    facts = {run.name: [run.encoder, run.readout, run.head, str(run.images or "")] for run in runs}
    lines = [["run", "encoder", "readout", "head", "images", *columns]]
    for name, scores in rows.items():
        values = (repr(scores[column]) if column in scores else "" for column in columns)
        lines.append([name, *facts.get(name, [""] * 4), *values])
    write_csv(out / "probes.csv", lines)
    lines = [["run", "class", "images", "top1"]]
    for run in runs:
        lines += [[run.name, label, str(of["images"]), repr(of["top1"])] for label, of in run.classes.items()]
    write_csv(out / "classes.csv", lines)
    lines = [["run", "class", "predicted", "images"]]
    for run in runs:
        lines += [[run.name, true, found, str(number)] for true, found, number in run.confusions]
    write_csv(out / "confusions.csv", lines)
    published = {f"{run.name}: {source}": scores for run in runs for source, scores in run.published.items()}
    groups = {"runs": {run.name: run.scores for run in runs}, "published": published, "baselines": baselines}
    bars = {group: _top1(rows) for group, rows in groups.items()}
    draw_bars(bars, out / "probes.png", "top-1 in percent (nearest neighbours where there is no head)")


def _top1(rows: Mapping[str, Scores]) -> dict[str, float]:
    """Return the top-1 of each head, or else of 20 neighbours; rows without either are left out."""
    found = {name: scores.get("top1", scores.get("knn_top1@20")) for name, scores in rows.items()}
    return {name: value for name, value in found.items() if value is not None}


def _columns(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    found = dict.fromkeys(name for scores in rows.values() for name in scores)
    first = [name for name in ("top1", "top5", "mean_per_class") if name in found]
    return first + [name for name in found if name not in first]


def runs_table(runs: Sequence[ProbeRun], baselines: Mapping[str, Mapping[str, float]]) -> str:
    """Format the scores of runs and baselines as Markdown; published scores of the same images stand below a run."""
    rows: dict[str, tuple[list[str], Mapping[str, float]]] = {}
    for run in runs:
        rows[run.name] = [run.encoder, run.readout, run.head, str(run.images or "")], run.scores
        rows |= {f"{run.name}: {source}": ([run.encoder, "", "", ""], of) for source, of in run.published.items()}
    rows |= {name: ([""] * 4, of) for name, of in baselines.items()}
    columns = _columns({name: of for name, (_, of) in rows.items()})
    lines = [["probe", "encoder", "readout", "head", "images", *columns]]
    for name, (facts, of) in rows.items():
        lines.append([name, *facts, *(f"{of[column]:.2f}" if column in of else "-" for column in columns)])
    return aligned(lines, texts=4)


def classes_table(runs: Sequence[ProbeRun]) -> str:
    """Format the top-1 of each class as Markdown, the hardest classes first; at most 20."""
    scored = [run for run in runs if run.classes]
    names = dict.fromkeys(label for run in scored for label in run.classes)
    means = {}
    for label in names:
        found = [run.classes[label]["top1"] for run in scored if label in run.classes]
        means[label] = sum(found) / len(found)
    hardest = sorted(names, key=lambda label: means[label])[:_WORST]
    title = "top-1 by class" if len(hardest) == len(names) else f"top-1, {len(hardest)} hardest of {len(names)} classes"
    lines = [[title, *(run.name for run in scored)]]
    for label in hardest:
        of = (run.classes.get(label) for run in scored)
        lines.append([label, *("-" if one is None else f"{one['top1']:.2f}" for one in of)])
    return aligned(lines)


def confusions_table(runs: Sequence[ProbeRun]) -> str:
    """Format the most frequent pairs of a class and a wrong prediction as Markdown, with the number of images."""
    scored = [run for run in runs if run.classes]
    numbers = [{(true, found): number for true, found, number in run.confusions} for run in scored]
    pairs = dict.fromkeys(pair for of in numbers for pair in of)
    most = sorted(pairs, key=lambda pair: -max(of.get(pair, 0) for of in numbers))[:_CONFUSIONS]
    lines = [["images of a class, taken for another", *(run.name for run in scored)]]
    for true, found in most:
        lines.append([f"{true}, taken for {found}", *(str(of.get((true, found), 0)) for of in numbers)])
    return aligned(lines)
