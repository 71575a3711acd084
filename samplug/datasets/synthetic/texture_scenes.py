"""Generate scenes of several textures with natural boundaries."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samplug.datasets.synthetic.textures import smooth_noise
from samplug.datasets.texturing import TextureSource

_OUTLINE = (0.12, 0.35)  # scale of the boundaries as a share of the side
_SMALLEST = 0.06  # smallest share of the image for a region


def texture_scene(
    seed: int, index: int, size: int, source: TextureSource, regions: tuple[int, int] = (2, 3)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Generate scene ``index`` of an endless sequence.

    Boundaries follow smooth random fields, or are nearly straight. Each region has its own texture; lighting and noise
    are shared.

    Args:
        seed: Random seed of the sequence.
        index: Index in the sequence.
        size: Side of the square image in pixels.
        source: Source of textures.
        regions: Smallest and largest number of regions.

    Returns:
        Image (size, size, 3) uint8 BGR and labels (size, size) uint8, 0..regions-1.
    """
    rng = np.random.default_rng((seed, index))
    labels = _partition(rng, size, int(rng.integers(regions[0], regions[1] + 1)))
    image = np.zeros((size, size, 3), np.float32)
    for label in np.unique(labels):
        texture = source.draw(rng, (size, size)).astype(np.float32)
        # Some neighbours differ only in texture, others also in colour and brightness.
        texture = (texture - texture.mean((0, 1))) * rng.uniform(0.6, 1.2) + texture.mean((0, 1)) + rng.normal(0, 12, 3)
        image[labels == label] = texture[labels == label]
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    slope_y, slope_x = rng.uniform(-0.2, 0.2, 2)
    image = image * (1 + slope_y * y + slope_x * x)[..., None] + rng.normal(0, rng.uniform(0, 5), image.shape)
    return image.clip(0, 255).round().astype(np.uint8), labels


def _partition(rng: Generator, size: int, regions: int) -> NDArray[np.uint8]:
    """Partition a square into regions, each with at least the smallest share."""
    fields = _fields if rng.random() < 0.6 else _straight
    while True:
        labels = fields(rng, size, regions).argmax(axis=0).astype(np.uint8)
        if np.bincount(labels.ravel(), minlength=regions).min() >= _SMALLEST * size**2:
            return labels


def _fields(rng: Generator, size: int, regions: int) -> NDArray[np.float32]:
    """Return a smooth field with ripples for each region, cropped from twice the size, since noise wraps around."""
    scale, ripples = rng.uniform(*_OUTLINE) * size, rng.uniform(0, 0.25)
    return np.stack(
        [
            smooth_noise(rng, 2 * size, scale)[:size, :size] + ripples * smooth_noise(rng, size, scale / 6)
            for _ in range(regions)
        ]
    )


def _straight(rng: Generator, size: int, regions: int) -> NDArray[np.float32]:
    """Return the closeness to a random point for each region, so that boundaries are nearly straight."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    wobble = rng.uniform(0, 0.02) * smooth_noise(rng, size, size / 16)
    points = rng.uniform(-0.3, 1.3, (regions, 2))
    return np.stack([-np.hypot(y - py + wobble, x - px) for py, px in points])
