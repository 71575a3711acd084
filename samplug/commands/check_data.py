"""Check that the datasets of a config are complete, readable and as published.

Every image and annotation of the training, validation and test sets is read, and each set is described as in the log
of a training run. Missing, broken and suspicious files are listed; number and sizes of images are compared with the
published datasets. The exit code is 1 if a set has problems; files that the config leaves out (on_error='skip') are
only listed.
"""

import argparse
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from samplug.commands.common import add_config
from samplug.utils.errors import DataError
from samplug.utils.imports import without_collection

_PHASES = ("train", "val", "test")
_LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)


def execute(args: argparse.Namespace) -> None:
    from mmengine.logging import MMLogger
    from mmengine.registry import init_default_scope

    from samplug.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    with without_collection():
        from samplug.engine.build_errors import named_in

    init_default_scope("samplug")
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # the dataset's own lines would repeat the report
    sets = list(_datasets(cfg))
    checked = [hasattr(kind, "check_files") for _, _, kind in sets]
    if not any(checked):
        raise DataError(
            f"check: {args.config} has no dataset of files in its loaders (a class with check_files, such as "
            "BinarySegDataset)"
        )
    wrong = 0
    reported: set[str] = set()  # each part of a folder reports the files without a partner or of other formats
    for (phase, dataset, kind), has_check in zip(sets, checked, strict=True):
        if not has_check:
            print(f"  --  {phase:5s} {getattr(kind, '__name__', kind)}: not checked (the class has no check_files)")
            continue
        with named_in(cfg):
            result = kind.check_files(dataset)
        wrong += bool(result.problems)
        print(f"{'  !!' if result.problems else '  ok'}  {phase:5s} {result.title}")
        news = list(_news([*result.problems, *result.left_out], reported))
        for line in [*news, *(remark for remark in result.remarks if remark not in reported)]:
            print(f"            {line}")
        reported.update(result.remarks)
        for warning in _warnings(cfg, phase, dataset, result.used):
            print(f"            {warning}")
    if wrong:
        raise DataError(f"check: {wrong} of {sum(checked)} sets have problems (marked !!)")


def _news(problems: list[str], reported: set[str]) -> Iterator[str]:
    """Yield the first problems that were not reported before and count the rest; add all to ``reported``."""
    news = [line for line in problems if line not in reported]
    yield from news[:_LISTED]
    if len(news) > _LISTED:
        yield f"and {len(news) - _LISTED} more"
    if repeated := len(problems) - len(news):
        yield f"and {repeated} named above"
    reported.update(problems)


def _warnings(cfg: Any, phase: str, dataset: Mapping[str, Any], number: int) -> Iterator[str]:
    """Yield the warning about too few validation images, if this is the only validation set."""
    from samplug.datasets.configs import datasets_of
    from samplug.evaluation.choices import few_images

    alone = phase == "val" and list(datasets_of(cfg.val_dataloader.dataset)) == [dataset]
    if alone and number and (warning := few_images(cfg, number)):
        yield warning.removeprefix("data: ")


def _datasets(cfg: Any) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Yield phase, config and class of the datasets in the dataloaders; for an unknown class its name."""
    from samplug.datasets.configs import datasets_of
    from samplug.registry import DATASETS

    for phase in _PHASES:
        for dataset in datasets_of((cfg.get(f"{phase}_dataloader") or {}).get("dataset")):
            kind = dataset.get("type")  # a class in configs of Python's imports
            yield phase, dataset, (DATASETS.get(kind) or kind) if isinstance(kind, str) else kind
