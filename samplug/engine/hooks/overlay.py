"""Write pictures and masks of a test."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count
from logging import WARNING
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from numpy.typing import NDArray
from torch import Tensor

from samplug.evaluation.sets_evaluator import named_sets
from samplug.imaging.files import read_image
from samplug.models.prompts import has_objects, objects_of
from samplug.registry import HOOKS
from samplug.utils.files import Attempts
from samplug.utils.model_outputs import Outputs, as_logits, outputs_of
from samplug.utils.rle import decode_rle
from samplug.visualization import draw_classes, draw_overlay, number_objects, region_masks, write_picture


@HOOKS.register_module()
class OverlayHook(Hook):
    """Write the predictions of a test as masks and overlays.

    File names are fixed before the test. A file has the name of its image, or the image's path below the common folder
    if images of a set share a name, as video frames do. Each of several sets has its own folder, named like its row of
    scores. If a dataset does not list its files, numbers make the names unique.

    If a file cannot be written, no more files are written; the test continues, and the error is raised after the
    scores.

    Args:
        mask_dir: Folder for foreground probabilities as 8-bit PNG (class indices for several classes; 16-bit object
            numbers from 1 for several objects, small objects in front of large objects). None: no masks.
        overlay_dir: Folder for overlays: prediction in red, ground truth outlined in green; for several classes or
            objects, prediction and ground truth side by side in distinct colours. None: no overlays.
    """

    def __init__(self, mask_dir: str | None = None, overlay_dir: str | None = None) -> None:
        self.mask_dir = Path(mask_dir) if mask_dir else None
        self.overlay_dir = Path(overlay_dir) if overlay_dir else None
        self._names: list[str | None] = []  # index of the sample -> file name
        self._written: dict[str, str] = {}
        self._attempts = Attempts()
        self._outputs: Outputs = "logits"

    def before_test(self, runner: Runner) -> None:
        self._outputs = outputs_of(runner.model)
        self._written, self._attempts = {}, Attempts()
        if self.mask_dir or self.overlay_dir:
            self._names = _file_names(runner.test_dataloader.dataset)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        if self.mask_dir is None and self.overlay_dir is None:
            return
        for index, sample in enumerate(outputs or ()):
            if self._attempts.errors:
                return
            with self._attempts:
                self._write(sample, data_batch["inputs"], index)
            for error in self._attempts.errors:
                print_log(f"{error}. The test goes on without more pictures.", "current", WARNING)

    def after_test(self, runner: Runner) -> None:
        """Raise the error of a file that could not be written, now that the scores are printed and recorded.

        Raises:
            WriteError: A file could not be written.
        """
        attempts, self._attempts = self._attempts, Attempts()
        attempts.finish()

    def _write(self, sample: Any, inputs: Sequence[Any], index: int) -> None:
        name = self._name(sample)
        shown = _objects(sample) if "pred_sem_seg" not in sample else _classes(sample, self._outputs)
        if self.mask_dir:
            write_picture(self.mask_dir / name, shown.mask)
        if self.overlay_dir:
            image = _image(sample, inputs, index)
            if shown.binary:
                known = None if shown.ground_truth is None else shown.ground_truth == 1
                picture = draw_overlay(image, shown.decision > 0, known)
            else:
                both = (labels for labels in (shown.decision, shown.ground_truth) if labels is not None)
                picture = np.hstack([draw_classes(image, labels) for labels in both])
            write_picture(self.overlay_dir / name, picture)

    def _name(self, sample: Any) -> str:
        """Return the file name of a sample; samples that the dataset does not list get an unused name."""
        seed = sample.get("sample_seed")  # (seed, epoch, index), from SeededDataset
        index = None if seed is None else int(seed[2])
        if index is not None and index < len(self._names) and (name := self._names[index]):
            return name
        folder = f"{_inside(name)}/" if (name := sample.get("dataset_name")) else ""
        key = sample.img_path if index is None else f"{sample.img_path} {index}"
        stem = f"{folder}{Path(sample.img_path).stem}"
        numbers = chain([""], (f"_{number}" for number in count(1)))
        return next(name for number in numbers if self._written.setdefault(name := f"{stem}{number}.png", key) == key)


def _image(sample: Any, inputs: Sequence[Any], index: int) -> NDArray[np.uint8]:
    """Return the original image of a sample.

    For generated data without a file, it is the first view of the network's input at the original size.
    """
    if Path(sample.img_path).is_file():
        return read_image(sample.img_path)
    images = inputs if isinstance(inputs[0], Tensor) else inputs[0]
    image: Any = np.ascontiguousarray(images[index].permute(1, 2, 0).byte().cpu().numpy())
    height, width = sample.ori_shape
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


class _Shown(NamedTuple):
    """Pictures (H, W) of a sample; ``binary``: they show foreground and background."""

    mask: NDArray[Any]
    decision: NDArray[Any]
    ground_truth: NDArray[Any] | None
    binary: bool


def _classes(sample: Any, outputs: Outputs = "logits") -> _Shown:
    decision = sample.pred_sem_seg.data[0].cpu().numpy()
    logits = as_logits(sample.seg_logits.data, outputs)
    binary = logits.shape[0] == 1
    mask = (logits[0].sigmoid() * 255).round().byte().cpu().numpy() if binary else decision.astype(np.uint8)
    ground_truth = sample.gt_sem_seg.data[0].cpu().numpy() if "gt_sem_seg" in sample else None
    return _Shown(mask, decision, ground_truth, binary)


def _objects(sample: Any) -> _Shown:
    """Return the pictures of ``pred_instances``."""
    found = [decode_rle(mask) for mask in sample.pred_instances.masks]
    known: Any
    if "no_region" in sample:
        known = region_masks(sample.gt_sem_seg.data[0].cpu().numpy(), sample.no_region)
    elif has_objects(sample):
        known = objects_of(sample)[:, 0].numpy() == 1
    else:  # masks of everything need no ground truth
        known = np.zeros((0, *sample.ori_shape), bool)
    decision, ground_truth = (number_objects(masks, tuple(sample.ori_shape)) for masks in (found, known))
    return _Shown(decision, _colours(decision), _colours(ground_truth), False)


def _colours(numbers: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Turn numbers from 1 into classes, and 0, no object, into the class that is not drawn."""
    return np.where(numbers == 0, 255, (numbers - 1) % 255).astype(np.uint8)


def _file_names(dataset: Any) -> list[str | None]:
    """Choose the names of all files of a test in advance, so that names cannot clash during the test.

    Args:
        dataset: Dataset of the loader.

    Returns:
        A name for each sample, with the set's folder if there are several sets; None for images that the dataset does
        not list.
    """
    listed: list[tuple[str, str | None]] = []  # set and image of each sample
    for name, part in named_sets(dataset):
        images = [(entry.get("dataset_name") or name, entry.get("img_path")) for entry in _entries(part)]
        listed += images if len(images) == len(part) else [(name, None)] * len(part)
    sets: dict[str, dict[str, None]] = {}
    for name, image in listed:
        if image:
            sets.setdefault(name, {})[image] = None
    files: dict[tuple[str, str | None], str] = {}
    for name, paths in sets.items():
        folder = f"{_inside(name)}/" if len({name for name, _ in listed}) > 1 else ""
        for path, file in zip(paths, _distinct(list(paths)), strict=True):
            files[name, path] = f"{folder}{file}.png"
    return [files.get(key) for key in listed]


def _inside(name: str) -> str:
    """Return the name of a set as a relative path that stays inside the folder."""
    return "/".join(part for part in Path(name).parts if part not in ("..", "/")) or "set"


def _entries(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the entry of each sample in its dataset's list, without reading annotations."""
    if parts := getattr(dataset, "datasets", None):
        for part in parts:
            yield from _entries(part)
    elif hasattr(dataset, "get_data_info"):
        # MMEngine's reads the list only; a subclass's may open files.
        plain = hasattr(dataset, "serialize_data")
        for index in range(len(dataset)):
            yield BaseDataset.get_data_info(dataset, index) if plain else dataset.get_data_info(index)


def _distinct(paths: Sequence[str]) -> list[str]:
    """Return the shortest distinct names of paths.

    They are stems, else paths below the common folder without suffixes, else these with suffixes.
    """
    common = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    relative = [Path(os.path.relpath(path, common)) for path in paths]
    candidates = (
        [path.stem for path in relative],
        [path.with_suffix("").as_posix() for path in relative],
        [path.as_posix() for path in relative],
    )
    return next((names for names in candidates if len(set(names)) == len(names)), candidates[-1])
