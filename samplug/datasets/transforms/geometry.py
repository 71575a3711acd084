"""Transforms that move the pixels of image and ground truth together."""

import math
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from samplug.registry import TRANSFORMS
from samplug.utils.errors import ConfigError
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks


@TRANSFORMS.register_module()
class RandomRotateShear(BaseTransform):
    """Rotate and shear image and ground truth about the centre of the image, as in SAM 2's training.

    The size of the image does not change. Angles are drawn uniformly. Angles that would move an object out of the image
    are rejected; after ``attempts`` rejections the sample stays unchanged. (``mmdet.RandomAffine`` moves boxes only.)

    ``img``, (H, W, 3) uint8, is interpolated bilinearly. ``gt_seg_map``, (H, W) uint8, and ``gt_masks``,
    ``BitmapMasks``, are interpolated by nearest neighbour if present; pixels from outside become 0, background.
    ``gt_bboxes`` become the tight boxes of the masks.

    Args:
        angle: Largest rotation in degrees, in [0, 180].
        shear: Largest shear of the vertical axis in degrees, in [0, 90).
        attempts: Number of draws for a sample, at least 1.
        fill: Colour of pixels from outside the image, in 0..255 and in the channel order of the image; by default
            ImageNet's mean in BGR.

    Raises:
        ConfigError: An angle is out of its range, or ``attempts`` is below 1.
    """

    def __init__(
        self, angle: float = 25, shear: float = 20, attempts: int = 1, fill: tuple[int, int, int] = (103, 116, 123)
    ) -> None:
        if not 0 <= angle <= 180:
            raise ConfigError(f"RandomRotateShear: angle={angle!r} is not in [0, 180]")
        if not 0 <= shear < 90:
            raise ConfigError(f"RandomRotateShear: shear={shear!r} is not in [0, 90)")
        if attempts < 1:
            raise ConfigError(f"RandomRotateShear: attempts={attempts!r} is not 1 or more")
        self.angle = angle
        self.shear = shear
        self.attempts = attempts
        self.fill = fill

    @cache_randomness
    def _random_angles(self) -> list[tuple[float, float]]:
        limits = np.radians([self.angle, self.shear])
        return [tuple(np.random.uniform(-limits, limits)) for _ in range(self.attempts)]

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        height, width = results["img"].shape[:2]
        for angle, shear in self._random_angles():
            matrix = rotation_and_shear(angle, shear, (height, width))
            ground_truth = _moved_ground_truth(results, matrix)
            if ground_truth is not None:
                results["img"] = _warp(results["img"], matrix, cv2.INTER_LINEAR, self.fill)
                results.update(ground_truth)
                break
        return results

    def __repr__(self) -> str:
        return f"RandomRotateShear(angle={self.angle}, shear={self.shear}, attempts={self.attempts}, fill={self.fill})"


def rotation_and_shear(angle: float, shear: float, size: tuple[int, int]) -> np.ndarray:
    """Return the affine matrix, (2, 3) float64, that maps coordinates (x, y); pixel centres are at integers.

    First the vertical axis is sheared by ``shear``, then the image is rotated clockwise by ``angle`` (both in radians),
    about the centre of an image of ``size`` (H, W), as in torchvision's ``affine``.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, -math.tan(shear)], [0.0, 1.0]])
    centre = (np.array(size[::-1]) - 1) / 2
    return np.column_stack([linear, centre - linear @ centre])


def _moved_ground_truth(results: dict[str, Any], matrix: np.ndarray) -> dict[str, Any] | None:
    """Move the entries of the ground truth; return None if an object would leave the image."""
    moved: dict[str, Any] = {}
    if "gt_seg_map" in results:
        before = results["gt_seg_map"]
        moved["gt_seg_map"] = _warp(before, matrix)
        if set(np.unique(before)) - set(np.unique(moved["gt_seg_map"])) - {0, 255}:
            return None
    if "gt_masks" in results:
        objects = results["gt_masks"]
        masks = np.zeros_like(objects.masks)
        for index, mask in enumerate(objects.masks):
            masks[index] = _warp(mask, matrix)
            if (mask == 1).any() and not (masks[index] == 1).any():
                return None
        moved["gt_masks"] = BitmapMasks(masks, objects.height, objects.width)
        if "gt_bboxes" in results:
            moved["gt_bboxes"] = moved["gt_masks"].get_bboxes(HorizontalBoxes)
    return moved


def _warp(
    array: np.ndarray, matrix: np.ndarray, flags: int = cv2.INTER_NEAREST, fill: tuple[int, ...] = (0,)
) -> np.ndarray:
    height, width = array.shape[:2]
    return cv2.warpAffine(array, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
