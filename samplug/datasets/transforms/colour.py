"""Transforms of the image that leave the mask alone."""

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from samplug.registry import TRANSFORMS
from samplug.utils.errors import ConfigError


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Blurs ``img``, (H, W, 3) uint8, with a Gaussian of random width; the size stays.

    Args:
        prob: Share of the images that are blurred, in [0, 1].
        sigma: Smallest and largest standard deviation in pixels, drawn uniformly.

    Raises:
        ConfigError: ``prob`` is no share, or ``sigma`` no range above 0.
    """

    def __init__(self, prob: float, sigma: tuple[float, float] = (0.1, 2.0)) -> None:
        if not 0 <= prob <= 1:
            raise ConfigError(f"RandomGaussianBlur: prob={prob!r} is not in [0, 1]")
        if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
            raise ConfigError(f"RandomGaussianBlur: sigma={sigma!r} is not (smallest, largest) with 0 < smallest")
        self.prob = prob
        self.sigma = sigma

    @cache_randomness
    def _draw_sigma(self) -> float | None:
        return np.random.uniform(*self.sigma) if np.random.rand() < self.prob else None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        sigma = self._draw_sigma()
        if sigma is not None:
            results["img"] = cv2.GaussianBlur(results["img"], (0, 0), sigma)
        return results

    def __repr__(self) -> str:
        return f"RandomGaussianBlur(prob={self.prob}, sigma={self.sigma})"
