"""Masks of the objects of a data sample, from instance masks or a label map."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samplug.utils.errors import ConfigError

IGNORED = 255


def has_objects(sample: Any) -> bool:
    """Return True if a sample has ground truth; it may hold no object."""
    return "gt_sem_seg" in sample or has_instances(sample)


def has_instances(sample: Any) -> bool:
    """Return True if a sample, or the dict that metrics get, has instance masks; boxes or labels do not count."""
    return "gt_instances" in sample and "masks" in sample.get("gt_instances")


def objects_of(sample: Any, device: torch.device | str = "cpu") -> Tensor:
    """Return the masks of a sample's objects.

    Args:
        sample: Sample with ``gt_instances.masks``, mmdet's ``BitmapMasks`` or a tensor (B, H, W), or with
            ``gt_sem_seg`` (1, H, W), which is one object: 1 = on the object, 0 = not on it, 255 = ignored.
        device: Device of the result.

    Returns:
        (B, 1, H, W) uint8: 1 = on the object, 0 = not on it, 255 = not known.

    Raises:
        ConfigError: There is no ground truth, or its masks are of another kind or have other values, such as 0 off and
            255 on the object.
    """
    if not has_objects(sample):
        raise ConfigError(
            "PromptableSAM: prompts are made from the ground truth, and the samples have none: add masks to the "
            "dataset and a transform that loads them, or give prompts of your own to samplug.apis.Predictor"
        )
    if not has_instances(sample):
        labels = sample.gt_sem_seg.data.to(device)
        return torch.where(labels == IGNORED, labels, (labels == 1).to(labels.dtype)).to(torch.uint8)[None]
    masks = sample.gt_instances.masks
    if hasattr(masks, "to_tensor"):
        masks = masks.to_tensor(torch.uint8, device)
    if not isinstance(masks, Tensor) or masks.ndim != 3:
        raise ConfigError(
            f"PromptableSAM: gt_instances.masks is a {type(masks).__name__}, expected BitmapMasks or a tensor (B, H, "
            "W): set poly2mask=True in mmdet.LoadAnnotations"
        )
    _check_values(masks, sample)  # on the CPU: reading values on a GPU would wait for it
    return masks.to(device, torch.uint8)[:, None]


def _check_values(masks: Tensor, sample: Any) -> None:
    """Raise an error for masks whose values would silently be taken as unknown or as background."""
    if masks.dtype == torch.bool:
        return
    on, ignored = masks == 1, masks == IGNORED
    others = masks[~(on | ignored | (masks == 0))]
    if len(others) or (ignored.any() and not on.any()):
        found = f"{others[0].item():g}" if len(others) else "255, which means not known, and no 1"
        raise ConfigError(
            f"PromptableSAM: gt_instances.masks of {sample.get('img_path', 'a sample')} hold {found}: they are 1 on "
            "the object and 0 off it; divide masks of 0 and 255 by 255"
        )


def training_objects(sample: Any, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the masks of a training sample's objects in the network's input.

    Args:
        sample: See :func:`objects_of`; its masks are of the image as the pipeline made it, or already padded.
        size: Side of the input.
        device: Device of the result.

    Returns:
        (B, 1, size, size) uint8, see :func:`objects_of`; the image lies at the upper left, padding is 255.

    Raises:
        ConfigError: See :func:`objects_of`; or masks and image differ in size, so that prompts and losses would be
            misplaced.
    """
    objects = objects_of(sample, device)
    found = tuple(objects.shape[-2:])
    image = tuple(sample.get("img_shape", found)[:2])
    # Preprocessors pad label maps with the image; mmdet's pads masks too, and records it in batch_input_shape.
    padded = not has_instances(sample) or tuple(sample.get("batch_input_shape", ())) == found
    if not (found == (size, size) and padded) and (found != image or max(found) > size):
        raise ConfigError(
            f"PromptableSAM: the ground truth is {found}, its image is {image} in an input of {(size, size)}: load "
            "masks before the resize in the training pipeline, so that they are resized with the image"
        )
    height, width = found
    return F.pad(objects, (0, size - width, 0, size - height), value=IGNORED)
