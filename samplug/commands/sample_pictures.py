"""Draw the samples that a model is fed, and time their loader."""

import math
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils.dl_utils import set_multi_processing
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from samplug.commands.interaction_pictures import InteractionPictures
from samplug.datasets.configs import step_name, with_pipelines
from samplug.datasets.seeding import SeededIndex
from samplug.engine.build_errors import named_in
from samplug.engine.runner import SamplugRunner
from samplug.models.prompts import has_objects, objects_of
from samplug.utils.errors import ConfigError, check_choice
from samplug.visualization import (
    add_caption,
    contact_sheet,
    draw_classes,
    draw_overlay,
    number_objects,
    region_masks,
    write_picture,
)

Phase = Literal["train", "val", "test"]
Mode = Literal["transformed", "original", "concat"]

_IGNORED = 255
_LEGIBLE = 256  # pictures are enlarged to this many pixels at least


class LoaderSpeed(NamedTuple):
    """Speed of a loader on its own, without a model beside it."""

    first: float  # seconds from the start to the first batch, with the start of the workers
    images_per_second: float  # after the first batch
    batches: int  # number of timed batches


def browse(
    cfg: Config,
    out_dir: str | Path,
    phase: Phase = "train",
    number: int = 16,
    mode: Mode = "transformed",
    seed: int = 0,
    epoch: int = 0,
    prompts: bool = False,
    checkpoint: str | None = None,
) -> int:
    """Draw samples exactly as a training with this seed is fed them in an epoch.

    The foreground is red, ignored pixels are hatched.

    Args:
        cfg: Config with a dataloader of the phase.
        out_dir: Folder for a PNG of each sample, named after its image, and ``sheet.jpg`` of all.
        phase: Phase whose dataset is drawn.
        number: Number of samples, evenly spaced over the dataset.
        mode: ``'transformed'``: after the pipeline; ``'original'``: after its loading transforms; ``'concat'``: both.
        seed: Seed of the training.
        epoch: Number of the epoch, from 0.
        prompts: Draw the simulated clicks and boxes of a promptable model too, exactly those of that epoch.
        checkpoint: Weights to predict masks with, so that corrections can be drawn; None: draw the first prompt alone.

    Returns:
        Number of samples drawn.

    Raises:
        DataError: A sample cannot be read; the pictures so far, and their sheet, are there.
        ConfigError: The config has no such dataloader, ``mode`` is unknown, or ``number`` or ``epoch`` is out of range.
    """
    if number < 1 or epoch < 0:
        raise ConfigError(f"browse: number={number} must be at least 1 and epoch={epoch} at least 0")
    check_choice("browse", "mode", mode, get_args(Mode))
    loader_cfg = _loader_cfg(cfg, phase)
    if (prompts or checkpoint) and mode == "original":
        raise ConfigError("browse: prompts are drawn on what the model is fed: use mode 'transformed' or 'concat'")
    interactions = InteractionPictures(cfg, checkpoint, phase == "train") if prompts or checkpoint else None
    views: list[Any] = []
    if mode != "transformed":
        loaded = with_pipelines(loader_cfg["dataset"], _loading_steps)
        views.append(_build(cfg, {**loader_cfg, "dataset": loaded}, seed).dataset)
    if mode != "original":
        views.append(_build(cfg, loader_cfg, seed).dataset)
    length = len(views[0])
    indices = np.unique(np.linspace(0, length - 1, min(number, length)).round().astype(int)).tolist()
    pictures: list[tuple[NDArray[np.uint8], list[str]]] = []
    names: set[str] = set()
    try:
        for index in indices:
            samples = [view[SeededIndex(index, epoch)] for view in views]
            stem = Path(samples[0]["data_samples"].img_path).stem
            name = stem if stem not in names else f"{stem}_{index}"
            names.add(name)
            pictures.append(_draw(samples, interactions))
            write_picture(Path(out_dir) / f"{name}.png", _wide_captioned(*pictures[-1]))
    finally:
        if pictures:
            write_picture(Path(out_dir) / "sheet.jpg", contact_sheet(pictures))
    return len(pictures)


def time_loader(cfg: Config, phase: Phase, batches: int, seed: int = 0) -> LoaderSpeed:
    """Time the DataLoader of a phase on its own, with the config's workers and batch size.

    The first batch warms up. Workers fetch ahead, so the result is their lasting speed only with many more batches than
    ``num_workers * prefetch_factor``.

    Args:
        cfg: Config with a dataloader of the phase.
        phase: Phase whose dataloader is timed.
        batches: Number of batches to time; fewer if the dataset has fewer.
        seed: Seed of sampler and augmentation.

    Raises:
        ConfigError: The dataset has one batch only, or ``batches`` is below 1.
    """
    set_multi_processing(**cfg.get("env_cfg", {}).get("mp_cfg", {}))
    stream = iter(_build(cfg, _loader_cfg(cfg, phase), seed))
    started = time.perf_counter()
    next(stream)
    first = time.perf_counter() - started
    sizes = [len(batch["inputs"]) for batch in islice(stream, batches)]
    seconds = time.perf_counter() - started - first
    if not sizes:
        raise ConfigError(
            f"browse: {phase}_dataloader has no batch after the first, or --speed is below 1: nothing to time"
        )
    return LoaderSpeed(first, sum(sizes) / seconds, len(sizes))


def _loader_cfg(cfg: Config, phase: Phase) -> dict[str, Any]:
    loader = cfg.get(f"{phase}_dataloader")
    if not loader:
        present = [name for name in ("train", "val", "test") if cfg.get(f"{name}_dataloader")]
        raise ConfigError(f"config: {cfg.filename} has no {phase}_dataloader (it has: {', '.join(present)})")
    return loader


def _build(cfg: Config, loader: dict[str, Any], seed: int) -> DataLoader:
    init_default_scope(cfg.get("default_scope", "samplug"))
    with named_in(cfg):
        return SamplugRunner.build_dataloader(loader, seed=seed)


def _loading_steps(pipeline: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [step for step in pipeline if step_name(step).startswith(("Load", "Pack"))]


def _draw(
    samples: list[dict[str, Any]], interactions: InteractionPictures | None = None
) -> tuple[NDArray[np.uint8], list[str]]:
    """Draw the views of one sample side by side, and return them with their caption."""
    drawn = [_overlay(sample) for sample in samples]
    if interactions is not None:
        drawn[-1] = interactions.draw(samples[-1], _factor(samples[-1]["inputs"].shape))
    height = drawn[-1].shape[0]
    pictures = [
        cv2.resize(p, (round(p.shape[1] * height / p.shape[0]), height), interpolation=cv2.INTER_AREA) for p in drawn
    ]
    sizes = " -> ".join(f"{sample['inputs'].shape[2]}x{sample['inputs'].shape[1]}" for sample in samples)
    ground_truth = samples[-1]["data_samples"]
    caption = [Path(ground_truth.img_path).name, ", ".join([sizes, *_shares(ground_truth)])]
    gap = np.full((height, 4, 3), 255, np.uint8)
    return np.hstack([pictures[0], *(part for picture in pictures[1:] for part in (gap, picture))]), caption


def _shares(ground_truth: Any) -> Iterator[str]:
    if "gt_instances" in ground_truth:
        number = len(ground_truth.gt_instances)
        yield f"{number} object{'' if number == 1 else 's'}"
    if "no_region" in ground_truth:
        number = len(region_masks(ground_truth.gt_sem_seg.data[0].numpy(), ground_truth.no_region))
        yield f"{number} region{'' if number == 1 else 's'}"
    elif "gt_sem_seg" in ground_truth:
        mask = ground_truth.gt_sem_seg.data[0].numpy()
        counted = mask != _IGNORED
        yield f"fg {100 * (mask[counted] > 0).mean() if counted.any() else 0:.1f}%"
        if not counted.all():
            yield f"ignored {100 * (~counted).mean():.1f}%"


def _overlay(sample: dict[str, Any]) -> NDArray[np.uint8]:
    """Draw the image that the model is fed, enlarged if it is small, with the ground truth on it."""
    image: Any = sample["inputs"].permute(1, 2, 0).numpy().clip(0, 255).astype(np.uint8)
    factor = _factor(sample["inputs"].shape)
    image = np.ascontiguousarray(image.repeat(factor, axis=0).repeat(factor, axis=1))
    ground_truth = sample["data_samples"]
    if not has_objects(ground_truth):
        return image
    if "gt_sem_seg" not in ground_truth or "no_region" in ground_truth:
        masks = _masks_of(ground_truth)
        height, width = masks[0].shape if masks else image.shape[:2]
        numbers = number_objects(masks, (height, width))
        labels = np.where(numbers == 0, _IGNORED, (numbers - 1) % _IGNORED).astype(np.uint8)
        classes: Any = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        return draw_classes(image, classes)
    mask = ground_truth.gt_sem_seg.data[0].numpy().astype(np.uint8)
    # Test pipelines leave the ground truth at the original size.
    mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    ignored = mask == _IGNORED
    return draw_overlay(image, (mask > 0) & ~ignored, ignored=ignored)


def _masks_of(ground_truth: Any) -> Sequence[NDArray[np.bool_]]:
    if "no_region" in ground_truth:
        return region_masks(ground_truth.gt_sem_seg.data[0].numpy(), ground_truth.no_region)
    return list(objects_of(ground_truth)[:, 0].numpy() == 1)


def _factor(shape: Sequence[int]) -> int:
    """Return the factor by which a small image (3, H, W) is enlarged."""
    return max(1, math.ceil(_LEGIBLE / max(shape[1:])))


def _wide_captioned(picture: NDArray[np.uint8], caption: list[str]) -> NDArray[np.uint8]:
    missing = max(0, _LEGIBLE - picture.shape[1])
    return add_caption(np.pad(picture, ((0, 0), (0, missing), (0, 0)), constant_values=255), caption)
