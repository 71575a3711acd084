"""Warn before training if training or model selection uses test images, or selection uses too few images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from samplug.datasets.configs import datasets_of
from samplug.evaluation.choices import few_images
from samplug.registry import HOOKS
from samplug.utils.errors import ConfigError
from samplug.utils.text import listed

# Settings that choose the samples of a folder.
_CHOICE = ("include", "ann_file", "ann_dir", "indices")
# Settings that define the parts of a folder: the names in the folder, and the share of each part.
_SPLIT = (
    "val_fraction", "test_fraction", "mask_dir", "img_suffix", "seg_map_suffix", "recursive", "extra_masks",
    "extra_annotations",
)  # fmt: skip


@HOOKS.register_module()
class SplitLeakageHook(Hook):
    """Warn if training or validation uses a published test set or the config's own test set.

    Also warn if fewer than ten validation images decide on the best checkpoint, early stopping or the learning rate,
    see :func:`samplug.evaluation.choices.few_images`.

    Scores on a test set are too good if that set selected the checkpoint; TS-SAM's released configs select checkpoints
    on CAMO, ISTD and PASCAL-S.

    In classification, training and validation sets must have the same classes in the same order.

    Raises:
        ConfigError: Their classes differ.
    """

    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is not None:
            check_classes(*(loop.dataloader.dataset for loop in (runner.train_loop, runner.val_loop)))
        self._warn(runner)

    @master_only
    def _warn(self, runner: Runner) -> None:
        for warning in selection_warnings(runner.cfg):
            runner.logger.warning(warning)
        loop = runner.val_loop
        if loop is not None and (few := few_images(runner.cfg, len(loop.dataloader.dataset))):
            runner.logger.warning(few)


def check_classes(train: Any, val: Any) -> None:
    """Stop if a label has two meanings in datasets of classification.

    Raises:
        ConfigError: Their classes differ.
    """
    first, second = ((getattr(dataset, "metainfo", None) or {}) for dataset in (train, val))
    if first.get("task") != "classification" or second.get("task") != "classification":
        return
    own, other = first.get("classes") or (), second.get("classes") or ()
    if tuple(own) != tuple(other):
        differences = [
            f"only in {role}: {listed([name for name in names if name not in rest], 5)}"
            for role, names, rest in (("training", own, other), ("validation", other, own))
            if not set(names) <= set(rest)
        ]
        raise ConfigError(
            f"data: training and validation have different classes ({'; '.join(differences) or 'in another order'}): "
            "set classes_from of the validation set to the training set's image_dir, or classes of both to one list"
        )


def selection_warnings(cfg: Mapping[str, Any]) -> list[str]:
    """Return warnings about the sets of a config, from its settings alone: no dataset is built."""
    train, val, test = (
        [data for data in datasets_of((cfg.get(f"{part}_dataloader") or {}).get("dataset")) if not data.get("bank")]
        for part in ("train", "val", "test")  # the bank of a metric is not scored
    )
    warnings = []
    for dataset in val:
        name = _name(dataset)
        if _is_published_test(dataset):
            warnings.append(
                f"data: validation uses {name}, a published test set, so the best checkpoint is chosen by the images "
                "that it is scored on. Take a part of the training set (part='train' and part='val' of "
                "BinarySegDataset)"
            )
        elif any(_overlap(dataset, other) for other in test):
            warnings.append(
                f"data: validation and test use the same images ({name}): the score of the best checkpoint is too good"
            )
    for dataset in train:
        for role, others in (("test", test), ("validation", val)):
            shared = [_name(other) for other in others if _overlap(dataset, other)]
            if shared:
                warnings.append(f"data: {_name(dataset)} is trained on and is also a {role} set ({', '.join(shared)})")
        if _is_published_test(dataset):
            warnings.append(f"data: {_name(dataset)}, a published test set, is trained on")
    return list(dict.fromkeys(warnings))


def validates_on_test_images(cfg: Mapping[str, Any]) -> bool:
    """Return True if validation may read samples of the config's test set, judged by their settings."""
    val, test = (list(datasets_of((cfg.get(f"{part}_dataloader") or {}).get("dataset"))) for part in ("val", "test"))
    return any(_is_published_test(one) or any(_overlap(one, other) for other in test) for one in val)


def _is_published_test(dataset: Mapping[str, Any]) -> bool:
    return (dataset.get("published") or {}).get("split") == "test"


def _overlap(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return True if two datasets may read the same samples, judged by their settings."""
    if _source(first) != _source(second):
        return False
    folders = [set(each.get("splits") or ()) for each in (first, second)]
    if all(folders) and not folders[0] & folders[1]:
        return False
    parts = first.get("part"), second.get("part")
    one_split = all(first.get(key) == second.get(key) for key in _SPLIT)
    return None in parts or parts[0] == parts[1] or not one_split


def _source(dataset: Mapping[str, Any]) -> Any:
    prefix = dataset.get("data_prefix") or {}
    images = dataset.get("image_dir") or prefix.get("img_path") or prefix.get("img")
    root = dataset.get("data_root")
    if root is None and images is None:  # generated: known by its settings
        return {key: value for key, value in dataset.items() if key not in ("pipeline", "cache")}
    return Path(root or "", images or "").absolute(), *(dataset.get(key) for key in _CHOICE)


def _name(dataset: Mapping[str, Any]) -> str:
    return str(dataset.get("name") or dataset.get("data_root") or dataset.get("type"))
