"""The command ``tools/check_data.py``: whether the sets of a config are there, whole, and as published."""

import argparse
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import MMLogger

from samplug.datasets import BinarySegDataset, SA1BDataset, VideoFolderDataset
from samplug.datasets.base import CheckedDataset
from samplug.datasets.scan import by_suspicion
from samplug.registry import DATASETS
from samplug.utils.errors import DataError

_LISTED = 10
_KINDS: dict[str, type[CheckedDataset]] = {
    kind.__name__: kind for kind in (BinarySegDataset, SA1BDataset, VideoFolderDataset)
}
# Settings that say which files a set is made of.
_FILES = (
    "data_root", "image_dir", "mask_dir", "ann_dir", "img_suffix", "seg_map_suffix", "recursive", "include", "ann_file",
)  # fmt: skip


def main() -> None:
    from mmengine.registry import init_default_scope

    from samplug.commands.options import CfgOptions
    from samplug.config import load_config
    from samplug.engine.build_errors import named_in

    parser = argparse.ArgumentParser(
        description="Read every image and annotation of a config's sets: what is missing, broken or suspicious, and whether number and sizes "
        "are those of the published sets. Exit code 1 if anything is not as it should be."
    )
    parser.add_argument("config", help="config file, also one of configs/_base_/datasets")
    parser.add_argument(
        "--cfg-options", nargs="+", action=CfgOptions, metavar="KEY=VALUE", help="such as data_root=..."
    )
    args = parser.parse_args()

    init_default_scope("samplug")
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # the dataset's own lines would say it twice
    cfg = load_config(args.config, args.cfg_options)
    wrong = 0
    found = list(_datasets(cfg))
    trained = [_files(dataset) for phase, dataset in found if phase == "train"]
    # A validation part that is held out of a training set is read with it.
    found = [(phase, dataset) for phase, dataset in found if phase != "val" or _files(dataset) not in trained]
    sets = {(phase, str(dataset)): dataset for phase, dataset in found}
    for (phase, _), dataset in sets.items():
        with named_in(cfg):
            lines = check(dataset)
        wrong += bool(lines.problems)
        print(f"{'  !!' if lines.problems else '  ok'}  {phase:5s} {lines.title}")
        for line in [*lines.problems, *lines.remarks]:
            print(f"            {line}")
    if not sets:
        raise DataError(f"check: {args.config} has none of {', '.join(_KINDS)} in its loaders")
    if wrong:
        raise DataError(f"check: {wrong} of {len(sets)} sets are not as they should be (marked !!)")


class Finding:
    """What was found of one set.

    Attributes:
        title: Name and summary.
        problems: What keeps it from being the published set, or from being used.
        remarks: What a person should look at.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.problems: list[str] = []
        self.remarks: list[str] = []


def check(dataset: Mapping[str, Any]) -> Finding:
    """Read a set whole.

    Args:
        dataset: Config of a ``BinarySegDataset``, ``SA1BDataset`` or ``VideoFolderDataset``.
    """
    settings = {key: value for key, value in dataset.items() if key != "pipeline"}
    settings |= dict(check="all", on_error="skip", part=None, lazy_init=True)
    built: Any = DATASETS.build(settings)
    finding = Finding(built.name)
    try:
        built.full_init()
    except DataError as error:
        finding.problems.append(str(error).removeprefix("data: "))
        return finding
    pairs = isinstance(built, BinarySegDataset)
    finding.title += f": {len(built)} sound pairs" if pairs else f": {len(built)} sound images, {built.describe()}"
    for name, why in list(built.skipped.items())[:_LISTED]:
        finding.problems.append(f"{name}: {why}")
    if len(built.skipped) > _LISTED:
        finding.problems.append(f"and {len(built.skipped) - _LISTED} more")
    _compare(finding, built)
    return finding


def _compare(finding: Finding, built: Any) -> None:
    facts = built.facts
    sizes = Counter((fact.width, fact.height) for fact in facts.values() if not fact.error)
    expected = built.published
    if "images" in expected and expected["images"] != built.found:
        finding.problems.append(f"the published set has {expected['images']} images, {built.found} pairs are here")
    if "size" in expected and (
        other := {size: number for size, number in sizes.items() if size != tuple(expected["size"])}
    ):
        width, height = expected["size"]
        found = ", ".join(f"{number} of {w}x{h}" for (w, h), number in list(other.items())[:3])
        finding.problems.append(f"published images are {width}x{height}; {found} are here")
    for what, names in by_suspicion(facts).items() if isinstance(built, BinarySegDataset) else ():
        finding.remarks.append(
            f"look at {len(names)} masks, {what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        )


def _files(dataset: Mapping[str, Any]) -> list[Any]:
    return [dataset.get(setting) for setting in _FILES]


def _kind(dataset: Mapping[str, Any]) -> str:
    kind = dataset.get("type", "")  # a class in configs of Python's imports
    return getattr(kind, "__name__", str(kind)).rpartition(".")[2]


def _datasets(cfg: Any) -> Iterator[tuple[str, Any]]:
    """Phase and config of every dataset of files in the loaders."""
    for phase in ("train", "val", "test"):
        waiting = [(cfg.get(f"{phase}_dataloader") or {}).get("dataset")]
        while waiting:
            dataset = waiting.pop(0)
            if not dataset:
                continue
            if _kind(dataset) in _KINDS:
                yield phase, dataset
            waiting += [dataset.get("dataset"), *(dataset.get("datasets") or [])]
