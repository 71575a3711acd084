"""Draw curves and print a table of one or more tests of interactive segmentation.

The curves (clicks.png, clicks.csv) are mean IoU, Dice and boundary IoU after each click. A test writes its file with
--cfg-options test_evaluator.0.out_file=F.json. --baselines adds a filled box and GrabCut, for the tight box of each
object of a config's test set.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.progress import track

from samplug.commands.common import add_cfg_options
from samplug.config import load_config
from samplug.evaluation.baselines import BOX_BASELINES
from samplug.evaluation.protocols import Clicks, ImageResult, Scores, score_image
from samplug.evaluation.report import Report, table, write_csv
from samplug.imaging.files import read_image
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.rle import encode_rle
from samplug.visualization.curves import draw_curves

_CURVES = ("IoU", "Dice", "BIoU")
_TABLE = ("NoC@80", "NoC@85", "NoC@90", "NoF@90", "IoU@1", "IoU@3", "IoU@5", "IoU@10", "IoU@20", "BIoU@1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="[NAME=]F.json", help="out_file of a ClickMetric")
    parser.add_argument(
        "--baselines", metavar="CONFIG", help="score a filled box and GrabCut on this config's test set"
    )
    add_cfg_options(parser)
    parser.add_argument("--out-dir", default="clicks", metavar="DIR", help="default: clicks")


def execute(args: argparse.Namespace) -> None:
    if not args.files and not args.baselines:
        raise argparse.ArgumentError(None, "name the files of tests, or --baselines CONFIG")
    out = Path(args.out_dir)
    objects = read(args.files)
    if args.baselines:
        for name, report in box_baselines(load_config(args.baselines, args.cfg_options)).items():
            if name in objects:
                raise ConfigError(
                    f"clicks: a run has the name {name!r} of a baseline: give it another name, as mine=F.json"
                )
            report.write_json(out / f"{name}.json")
            objects[name] = report.images
    print(f"\n{summary(objects)}\n")
    curves = {name: _means(scores) for name, scores in objects.items()}
    write_csv(out / "clicks.csv", _csv(curves))
    draw_curves(curves, out / "clicks.png", x_label="prompts")
    print(f"{out / 'clicks.png'}, {out / 'clicks.csv'}")


def read(arguments: Sequence[str]) -> dict[str, Mapping[str, Scores]]:
    """Read the scores of objects by run, from files given as ``F.json`` or ``NAME=F.json``.

    Raises:
        DataError: A file cannot be read, or no ClickMetric wrote it.
        ConfigError: Two runs have one name.
    """
    runs: dict[str, Mapping[str, Scores]] = {}
    for argument in arguments:
        given, separator, rest = argument.partition("=")
        name, path = (given, Path(rest)) if separator and not Path(argument).exists() else ("", Path(argument))
        name = name or path.stem
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"clicks: {path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise DataError(f"clicks: {path} is no json: {error}") from error
        if not isinstance(content, dict) or content.get("protocol") != Clicks.name:
            raise DataError(
                f"clicks: {path} holds no scores of interactive segmentation: write it with test.py, "
                "test_evaluator.0.out_file=... of a ClickMetric"
            )
        if name in runs:
            raise ConfigError(f"clicks: two runs are called {name!r}: name them, as a={path}")
        runs[name] = content["images"]
    return runs


def box_baselines(cfg: Config) -> dict[str, Report]:
    """Score a filled box and GrabCut for the tight box of each object of a config's test set.

    Raises:
        ConfigError: There is no test set.
    """
    from samplug.engine.build_errors import named_in
    from samplug.engine.runner import SamplugRunner
    from samplug.models.prompts import objects_of, tight_boxes

    if not cfg.get("test_dataloader"):
        raise ConfigError(f"clicks: {cfg.filename} has no test_dataloader")
    init_default_scope(cfg.get("default_scope", "samplug"))
    loader = dict(cfg.test_dataloader, num_workers=0, persistent_workers=False)
    with named_in(cfg):
        dataset: Any = SamplugRunner.build_dataloader(loader).dataset
    found: dict[str, dict[str, ImageResult]] = {name: {} for name in BOX_BASELINES}
    for index in track(range(len(dataset)), "baselines", transient=True):
        sample: Any = dataset[index]["data_samples"]
        image, objects = read_image(sample.img_path), objects_of(sample)
        boxes = tight_boxes(objects == 1).tolist()
        for number, (labels, box) in enumerate(zip(objects[:, 0].numpy(), boxes, strict=True)):
            key = f"{sample.img_path}#{number}"
            for name, method in BOX_BASELINES.items():
                predicted = [encode_rle(method(image, box))]
                found[name][key] = score_image(Clicks(), key, predicted, labels)
    return {name: Report.of(Clicks(), results) for name, results in found.items()}


def summary(objects: Mapping[str, Mapping[str, Scores]]) -> str:
    """Format a table with a line for each run, as Markdown."""
    rows = {}
    for name, scores in objects.items():
        names = dict.fromkeys(metric for object_scores in scores.values() for metric in object_scores)
        means = {metric: _mean(scores, metric) for metric in names}
        rows[f"{name} ({len(scores)} objects)"] = means
    return table(rows, _TABLE, "clicks")


def _means(scores: Mapping[str, Scores]) -> dict[str, tuple[list[int], list[float]]]:
    """Average the measures of the curves over the objects, after each prompt."""
    names = {name for object_scores in scores.values() for name in object_scores}
    steps = sorted(int(name.partition("@")[2]) for name in names if name.startswith("IoU@"))
    return {measure: (steps, [_mean(scores, f"{measure}@{k}") for k in steps]) for measure in _CURVES}


def _mean(scores: Mapping[str, Scores], metric: str) -> float:
    """Average a metric over the objects that have it."""
    return float(np.mean([object_scores[metric] for object_scores in scores.values() if metric in object_scores]))


def _csv(curves: Mapping[str, Mapping[str, tuple[list[int], list[float]]]]) -> list[list[str]]:
    lines = [["run", "measure", "prompts", "mean"]]
    for name, measures in curves.items():
        for measure, (steps, values) in measures.items():
            lines += [[name, measure, str(k), repr(value)] for k, value in zip(steps, values, strict=True)]
    return lines
