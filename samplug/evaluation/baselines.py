"""Predictions that need no model: what a score is worth nothing without."""

import numpy as np
from numpy.typing import NDArray


def constant(shape: tuple[int, int], level: int = 0) -> NDArray[np.uint8]:
    """The same value everywhere: (H, W) uint8."""
    return np.full(shape, level, np.uint8)


def centre_prior(shape: tuple[int, int], width: float = 0.25) -> NDArray[np.uint8]:
    """A Gaussian at the image's centre, ``width`` of each side wide: (H, W) uint8."""
    height, breadth = shape
    y = (np.arange(height) + 0.5) / height - 0.5
    x = (np.arange(breadth) + 0.5) / breadth - 0.5
    return np.round(255 * np.exp(-(y[:, None] ** 2 + x**2) / (2 * width**2))).astype(np.uint8)
