"""Random changes that a camera makes to the picture of a scene."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


def camera(rng: Generator, image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Change exposure, white balance, saturation, sharpness and noise of an image.

    Exposure and white balance always change. 15 % of the images become grey and a further 25 % change their saturation,
    20 % are blurred, 50 % get noise.

    Args:
        rng: Random generator.
        image: (H, W, 3) float32 BGR in 0..255; values beyond are fine.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    gains = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
    image = image * gains.astype(np.float32) + np.float32(rng.normal(0, 12))
    image = _saturate(rng, image)
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3))  # type: ignore[assignment]
    if rng.random() < 0.5:
        image = image + np.float32(rng.uniform(1, 8)) * rng.standard_normal(image.shape, np.float32)
    return image.clip(0, 255).round().astype(np.uint8)


def _saturate(rng: Generator, image: NDArray[np.float32]) -> NDArray[np.float32]:
    case = rng.random()
    if case >= 0.4:
        return image
    saturation = np.float32(0 if case < 0.15 else rng.uniform(0.3, 1.5))
    grey = image.mean(axis=-1, keepdims=True)
    return grey + saturation * (image - grey)
