"""Transforms that move the pixels of image and truth alike."""

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
    """Turns and shears image and truth about the image's centre, as SAM 2's training does; the size stays.

    Angles are drawn uniformly. A draw that would push an object out of the image is not used: after ``attempts`` such draws the sample
    stays as it is. ``mmdet.RandomAffine`` moves boxes only.

    Changes ``img``, (H, W, 3) uint8, by bilinear interpolation, and by nearest neighbour what there is of ``gt_seg_map`` (H, W) uint8 and
    ``gt_masks`` (``BitmapMasks``); what comes into them from outside is 0, background. ``gt_bboxes`` become the tight boxes of the masks.

    Args:
        angle: Largest angle of the turn, degrees in [0, 180].
        shear: Largest angle that the vertical leans by, degrees in [0, 90).
        attempts: Draws for a sample, at least 1.
        fill: Colour of what comes from outside the image, in 0..255 and the image's order of channels; by default ImageNet's mean in BGR.

    Raises:
        ConfigError: An angle is out of its range, or ``attempts`` below 1.
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
    def _draw(self) -> list[tuple[float, float]]:
        limits = np.radians([self.angle, self.shear])
        return [tuple(np.random.uniform(-limits, limits)) for _ in range(self.attempts)]

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        height, width = results["img"].shape[:2]
        for angle, shear in self._draw():
            matrix = rotation_and_shear(angle, shear, (height, width))
            truth = _moved_truth(results, matrix)
            if truth is not None:
                results["img"] = _warp(results["img"], matrix, cv2.INTER_LINEAR, self.fill)
                results.update(truth)
                break
        return results

    def __repr__(self) -> str:
        return f"RandomRotateShear(angle={self.angle}, shear={self.shear}, attempts={self.attempts}, fill={self.fill})"


def rotation_and_shear(angle: float, shear: float, size: tuple[int, int]) -> np.ndarray:
    """Where pixels go, (2, 3) float64, on coordinates (x, y) with pixel centres at whole numbers.

    First the vertical leans by ``shear``, then everything turns clockwise by ``angle`` (radians), both about the centre of an image of
    ``size`` (H, W), as torchvision's ``affine`` does.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, -math.tan(shear)], [0.0, 1.0]])
    centre = (np.array(size[::-1]) - 1) / 2
    return np.column_stack([linear, centre - linear @ centre])


def _moved_truth(results: dict[str, Any], matrix: np.ndarray) -> dict[str, Any] | None:
    """The entries of the truth after the move; None if an object is lost by it."""
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
