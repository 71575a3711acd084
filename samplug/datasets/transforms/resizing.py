"""Resizing and cropping of images for classifiers, with the pixels of Pillow and the sizes of torchvision."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from numpy.typing import NDArray
from PIL import Image

from samplug.registry import TRANSFORMS
from samplug.utils.errors import ConfigError, check_choice

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_ATTEMPTS = 10


@TRANSFORMS.register_module()
class ResizeShortSide(BaseTransform):
    """Resize an image so that its shorter side is ``size``, with Pillow's antialiased filters.

    The longer side is rounded down, as torchvision's ``Resize`` does. (``mmcv.Resize`` with ``backend='pillow'`` has
    the same filters, for a given size of both sides.)

    Args:
        size: Length of the shorter side in pixels.
        interpolation: ``'nearest'``, ``'bilinear'`` or ``'bicubic'``.

    Raises:
        ConfigError: An argument is out of its range.
    """

    def __init__(self, size: int, interpolation: str = "bilinear") -> None:
        _check(self, size, interpolation)
        self.size, self.interpolation = size, interpolation

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        height, width = results["img"].shape[:2]
        short, long = sorted((height, width))
        longer = int(self.size * long / short)
        target = (self.size, longer) if height <= width else (longer, self.size)
        return _with_image(results, resized(results["img"], target, self.interpolation))

    def __repr__(self) -> str:
        return f"ResizeShortSide(size={self.size}, interpolation={self.interpolation!r})"


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Cut out a random part of an image and resize it to a square, with the distribution of torchvision's transform.

    Area and aspect ratio are drawn until the part fits into the image, at most ten times; after that the largest part
    at the centre with an allowed ratio is taken.

    Args:
        size: Side of the result in pixels.
        scale: Smallest and largest share of the image's area; the draw is uniform.
        ratio: Smallest and largest width / height; the draw is uniform in the logarithm.
        interpolation: See :class:`ResizeShortSide`.

    Raises:
        ConfigError: An argument is out of its range.
    """

    def __init__(
        self,
        size: int,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
    ) -> None:
        _check(self, size, interpolation)
        for name, values in (("scale", scale), ("ratio", ratio)):
            if len(values) != 2 or not 0 < values[0] <= values[1] or (name == "scale" and values[1] > 1):
                raise ConfigError(
                    f"RandomResizedCrop: {name}={values!r} is not (smallest, largest) of positive numbers"
                )
        self.size, self.interpolation = size, interpolation
        self.scale, self.ratio = (scale[0], scale[1]), (ratio[0], ratio[1])

    @cache_randomness
    def _random_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw (top, left, height, width) of the part."""
        for _ in range(_ATTEMPTS):
            area = height * width * np.random.uniform(*self.scale)
            ratio = math.exp(np.random.uniform(*np.log(self.ratio)))
            wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < high <= height:
                return np.random.randint(height - high + 1), np.random.randint(width - wide + 1), high, wide
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        wide, high = min(width, round(height * ratio)), min(height, round(width / ratio))
        return (height - high) // 2, (width - wide) // 2, high, wide

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        top, left, height, width = self._random_box(*results["img"].shape[:2])
        part = results["img"][top : top + height, left : left + width]
        return _with_image(results, resized(part, (self.size, self.size), self.interpolation))

    def __repr__(self) -> str:
        return (
            f"RandomResizedCrop(size={self.size}, scale={self.scale}, ratio={self.ratio}, "
            f"interpolation={self.interpolation!r})"
        )


def resized(image: NDArray[Any], size: tuple[int, int], interpolation: str) -> NDArray[Any]:
    """Resize an image (H, W, 3) or (H, W) uint8 to ``size`` (height, width) with Pillow."""
    if image.shape[:2] == size:
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.array(picture.resize((size[1], size[0]), _FILTERS[interpolation]))


def _with_image(results: dict[str, Any], image: NDArray[Any]) -> dict[str, Any]:
    results["img"] = image
    results["img_shape"] = image.shape[:2]
    return results


def _check(transform: BaseTransform, size: int, interpolation: str) -> None:
    name = type(transform).__name__
    if not isinstance(size, int) or size < 1:
        raise ConfigError(f"{name}: size={size!r} is not a positive whole number")
    check_choice(name, "interpolation", interpolation, tuple(_FILTERS))
