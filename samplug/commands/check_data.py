"""Check that the datasets of a config are there, whole, and as published.

Every image and annotation is read. Missing, broken and suspicious files are listed; number and sizes are compared with
those of the published datasets. The exit code is 1 if anything is not as it should be.
"""

import argparse
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from samplug.commands.common import add_config
from samplug.utils.errors import DataError
from samplug.utils.imports import without_collection

# Settings that determine the files of a dataset.
_FILES = (
    "data_root", "image_dir", "mask_dir", "ann_dir", "img_suffix", "seg_map_suffix", "recursive", "include", "ann_file",
)  # fmt: skip


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
    found = list(_datasets_of_files(cfg))
    trained = [_files(dataset) for phase, dataset, _ in found if phase == "train"]
    # A validation part that is held out of a training set is read with it.
    found = [item for item in found if item[0] != "val" or _files(item[1]) not in trained]
    sets = {(phase, str(dataset)): (dataset, kind) for phase, dataset, kind in found}
    if not sets:
        raise DataError(
            f"check: {args.config} has no dataset of files in its loaders (a class with check_files, such as "
            "BinarySegDataset)"
        )
    wrong = 0
    for (phase, _), (dataset, kind) in sets.items():
        with named_in(cfg):
            result = kind.check_files(dataset)
        wrong += bool(result.problems)
        print(f"{'  !!' if result.problems else '  ok'}  {phase:5s} {result.title}")
        for line in [*result.problems, *result.remarks]:
            print(f"            {line}")
    if wrong:
        raise DataError(f"check: {wrong} of {len(sets)} sets are not as they should be (marked !!)")


def _files(dataset: Mapping[str, Any]) -> list[Any]:
    return [dataset.get(setting) for setting in _FILES]


def _datasets_of_files(cfg: Any) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Yield phase, config and class of the datasets in the loaders whose class has ``check_files(settings)``."""
    from samplug.datasets.configs import datasets_of
    from samplug.registry import DATASETS

    for phase in ("train", "val", "test"):
        for dataset in datasets_of((cfg.get(f"{phase}_dataloader") or {}).get("dataset")):
            kind = dataset.get("type")  # a class in configs of Python's imports
            kind = DATASETS.get(kind) if isinstance(kind, str) else kind
            if hasattr(kind, "check_files"):
                yield phase, dataset, kind
