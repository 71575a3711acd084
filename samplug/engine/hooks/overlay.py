"""Pictures and masks of a test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from numpy.typing import NDArray
from torch import Tensor

from samplug.imaging.files import read_image
from samplug.models.prompts import objects_of
from samplug.registry import HOOKS
from samplug.utils.errors import DataError
from samplug.utils.foreground import foreground_logits
from samplug.utils.rle import decode_rle
from samplug.visualization import draw_classes, draw_overlay, number_objects, write_picture


@HOOKS.register_module()
class OverlayHook(Hook):
    """Writes predictions during a test: masks to score elsewhere, and overlays to look at; of several sets in a folder each.

    Args:
        mask_dir: Folder for foreground probabilities as 8-bit PNG (class indexes for several classes; of several objects their numbers from 1
            in 16 bits, small ones over large ones). None: not written.
        overlay_dir: Folder for overlays: prediction red, truth outlined in green; with several classes or objects prediction and truth side
            by side, in a colour for each. None: not written.
    """

    def __init__(self, mask_dir: str | None = None, overlay_dir: str | None = None) -> None:
        self.mask_dir = Path(mask_dir) if mask_dir else None
        self.overlay_dir = Path(overlay_dir) if overlay_dir else None
        self._written: dict[str, str] = {}
        self._several_sets = False

    def before_test(self, runner: Runner) -> None:
        self._several_sets = len(getattr(runner.test_dataloader.dataset, "datasets", ())) > 1

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        if self.mask_dir is None and self.overlay_dir is None:
            return
        for index, sample in enumerate(outputs or ()):
            name = self._name(sample)
            shown = _objects(sample) if "pred_sem_seg" not in sample else _classes(sample)
            if self.mask_dir:
                write_picture(self.mask_dir / name, shown.mask)
            if self.overlay_dir:
                image = self._image(sample, data_batch["inputs"], index)
                if shown.binary:
                    truth = None if shown.truth is None else shown.truth == 1
                    picture = draw_overlay(image, shown.decision > 0, truth)
                else:
                    both = (labels for labels in (shown.decision, shown.truth) if labels is not None)
                    picture = np.hstack([draw_classes(image, labels) for labels in both])
                write_picture(self.overlay_dir / name, picture)

    def _name(self, sample: Any) -> str:
        """The image's name with .png, in its set's folder; two images of one name are an error, not one file."""
        source = sample.img_path
        folder = f"{sample.get('dataset_name')}/" if self._several_sets and sample.get("dataset_name") else ""
        name = f"{folder}{Path(source).stem}.png"
        if self._written.setdefault(name, source) != source:
            raise DataError(f"data: {source} and {self._written[name]} would both be written as {name}: rename one")
        return name

    @staticmethod
    def _image(sample: Any, inputs: Sequence[Any], index: int) -> np.ndarray:
        """The original image; for generated data, which has no file, the network's input (its first view's) at the original size."""
        if Path(sample.img_path).is_file():
            return read_image(sample.img_path)
        images = inputs if isinstance(inputs[0], Tensor) else inputs[0]
        image = np.ascontiguousarray(images[index].permute(1, 2, 0).byte().cpu().numpy())
        height, width = sample.ori_shape
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


class _Shown(NamedTuple):
    """What there is to write of a sample: labels (H, W), and whether they are of one foreground."""

    mask: NDArray[Any]
    decision: NDArray[Any]
    truth: NDArray[Any] | None
    binary: bool


def _classes(sample: Any) -> _Shown:
    decision = sample.pred_sem_seg.data[0].cpu().numpy()
    logits = foreground_logits(sample.seg_logits.data, sample.pred_sem_seg.data)
    binary = logits.shape[0] == 1
    mask = (logits[0].sigmoid() * 255).round().byte().cpu().numpy() if binary else decision.astype(np.uint8)
    truth = sample.gt_sem_seg.data[0].cpu().numpy() if "gt_sem_seg" in sample else None
    return _Shown(mask, decision, truth, binary)


def _objects(sample: Any) -> _Shown:
    """Show the masks of a promptable model after the last prompts."""
    found = [decode_rle(mask) for mask in sample.pred_instances.masks]
    truth = objects_of(sample)[:, 0].numpy() == 1
    decision, true = (number_objects(masks, tuple(sample.ori_shape)) for masks in (found, truth))
    return _Shown(decision, _colours(decision), _colours(true), False)


def _colours(numbers: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Numbers from 1 as classes; 0, where there is no object, as what is not drawn."""
    return np.where(numbers == 0, 255, (numbers - 1) % 255).astype(np.uint8)
