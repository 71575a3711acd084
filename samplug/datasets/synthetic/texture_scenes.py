"""Generate scenes of several textures with natural boundaries."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samplug.datasets.camera import camera
from samplug.datasets.synthetic.partitions import partition
from samplug.datasets.texturing import TextureSource

Pixels = NDArray[np.float32]


def texture_scene(
    seed: int, index: int, size: int, source: TextureSource, regions: tuple[int, int] = (2, 3)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Generate scene ``index`` of an endless sequence.

    Boundaries follow smooth random fields or are nearly straight; half of the scenes of two regions show an object on a
    background. Each region has a texture, or a smooth mixture of two, with its own contrast, tint and shading. In half
    of the scenes all regions have nearly the same mean colour. Light and :func:`~samplug.datasets.camera.camera` are
    common to the scene.

    Args:
        seed: Random seed of the sequence.
        index: Index in the sequence.
        size: Side of the square image in pixels.
        source: Source of textures.
        regions: Smallest and largest number of regions; each number is three times as likely as the next one, so of
            scenes with (2, 3) regions 75 % have two.

    Returns:
        Image (size, size, 3) uint8 BGR and labels (size, size) uint8, 0..regions-1; each region has at least 6 % of the
        pixels.
    """
    rng = np.random.default_rng((seed, index))
    labels = partition(rng, size, _draw_number(rng, *regions))
    image = _paint(rng, labels, source)
    if rng.random() < 0.5:
        image = _shade(rng, image, cells=2, strength=rng.uniform(0.05, 0.25))
    return camera(rng, image), labels


def _draw_number(rng: Generator, least: int, most: int) -> int:
    numbers = np.arange(least, most + 1)
    weights = 3.0 ** (least - numbers)
    return int(rng.choice(numbers, p=weights / weights.sum()))


def _paint(rng: Generator, labels: NDArray[np.uint8], source: TextureSource) -> Pixels:
    """Paint a surface on each region, most of them with blended borders."""
    same_colour = rng.random() < 0.5
    image = _draw_surface(rng, len(labels), source)
    colour = _mean(image)
    for label in range(1, int(labels.max()) + 1):
        surface = _draw_surface(rng, len(labels), source)
        if same_colour:
            surface += colour + _tint(rng, rng.uniform(2, 20)) - _mean(surface)
        weight = (labels == label).astype(np.float32)
        if rng.random() < 0.7:
            cv2.GaussianBlur(weight, (0, 0), rng.uniform(0.3, 1.0), dst=weight)
        image += weight[..., None] * (surface - image)
    return image


def _draw_surface(rng: Generator, size: int, source: TextureSource) -> Pixels:
    """Draw a texture with its own contrast and tint; some are mixtures of two, some are shaded."""
    surface = source.draw(rng, (size, size)).astype(np.float32)
    if rng.random() < 0.25:
        surface = _mix(rng, surface, source.draw(rng, (size, size)).astype(np.float32))
    if rng.random() < 0.5:
        surface = _shade(rng, surface, cells=int(rng.integers(2, 5)), strength=rng.uniform(0.03, 0.25))
    mean = _mean(surface)
    return (surface - mean) * np.float32(rng.uniform(0.5, 1.3)) + mean + _tint(rng, 10)


def _mix(rng: Generator, first: Pixels, second: Pixels) -> Pixels:
    """Give part of a surface a second texture of nearly the same mean colour, with smooth transitions."""
    weight = (1.5 * _smooth(rng, len(first), int(rng.integers(2, 7))) + 0.5).clip(0, 1)[..., None]
    second = second + (_mean(first) - _mean(second) + _tint(rng, 12))
    return second + weight * (first - second)


def _shade(rng: Generator, image: Pixels, cells: int, strength: float) -> Pixels:
    return image * (1 + np.float32(strength) * _smooth(rng, len(image), cells))[..., None]


def _smooth(rng: Generator, size: int, cells: int) -> Pixels:
    """Interpolate standard normal values of ``cells`` x ``cells`` points to (size, size)."""
    coarse = rng.standard_normal((cells, cells), np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def _tint(rng: Generator, spread: float) -> Pixels:
    return rng.normal(0, spread, 3).astype(np.float32)


def _mean(image: Pixels) -> Pixels:
    return np.array(cv2.mean(image), np.float32)[:3]  # several times as fast as NumPy
