"""Transforms that change the image but not the mask."""

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from PIL import Image, ImageEnhance

from samplug.registry import TRANSFORMS
from samplug.utils.errors import ConfigError


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Blur ``img``, (H, W, 3) uint8, with a Gaussian of random width; the size does not change.

    Args:
        prob: Probability that an image is blurred, in [0, 1].
        sigma: Smallest and largest standard deviation in pixels, drawn uniformly.

    Raises:
        ConfigError: ``prob`` is not in [0, 1], or ``sigma`` is not a range above 0.
    """

    def __init__(self, prob: float, sigma: tuple[float, float] = (0.1, 2.0)) -> None:
        if not 0 <= prob <= 1:
            raise ConfigError(f"RandomGaussianBlur: prob={prob!r} is not in [0, 1]")
        if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
            raise ConfigError(f"RandomGaussianBlur: sigma={sigma!r} is not (smallest, largest) with 0 < smallest")
        self.prob = prob
        self.sigma = sigma

    @cache_randomness
    def _random_sigma(self) -> float | None:
        return np.random.uniform(*self.sigma) if np.random.rand() < self.prob else None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        sigma = self._random_sigma()
        if sigma is not None:
            results["img"] = cv2.GaussianBlur(results["img"], (0, 0), sigma)
        return results

    def __repr__(self) -> str:
        return f"RandomGaussianBlur(prob={self.prob}, sigma={self.sigma})"


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Scale brightness, contrast and saturation of ``img``, (H, W, 3) uint8 BGR, by random factors in random order.

    The operations are those of torchvision's ``ColorJitter`` on PIL images: brightness is scaled about black, contrast
    about the mean grey, saturation about the grey image. Each factor is drawn uniformly from [max(0, 1 - x), 1 + x].

    Args:
        brightness, contrast, saturation: Value x of each property, at least 0; 0 leaves the property unchanged.

    Raises:
        ConfigError: A value is below 0.
    """

    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0) -> None:
        self.amounts = dict(brightness=brightness, contrast=contrast, saturation=saturation)
        for name, amount in self.amounts.items():
            if amount < 0:
                raise ConfigError(f"ColorJitter: {name}={amount!r} is below 0")

    @cache_randomness
    def _random_factors(self) -> list[tuple[str, float]]:
        used = [(name, np.random.uniform(max(0.0, 1 - x), 1 + x)) for name, x in self.amounts.items() if x]
        return [used[index] for index in np.random.permutation(len(used))]

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        image = Image.fromarray(cv2.cvtColor(results["img"], cv2.COLOR_BGR2RGB))
        for name, factor in self._random_factors():
            image = _ENHANCERS[name](image).enhance(factor)
        results["img"] = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
        return results

    def __repr__(self) -> str:
        return f"ColorJitter({', '.join(f'{name}={amount}' for name, amount in self.amounts.items())})"


_ENHANCERS = dict(brightness=ImageEnhance.Brightness, contrast=ImageEnhance.Contrast, saturation=ImageEnhance.Color)
