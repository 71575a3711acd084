"""Generate camouflage scenes: a textured object on a textured ground of the same colours and brightness."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from scipy.ndimage import gaussian_filter

from samplug.datasets.synthetic.textures import TEXTURES

# Grounds consist of grains and fibres, like soil, gravel and grass; objects have bands and meshes, like animals. Spots
# and blotches fit both; by default they are left out. Pass them for harder scenes.
GROUND_TEXTURES = ("fractal", "fibres", "cells", "speckle", "mosaic")
OBJECT_TEXTURES = ("stripes", "weave", "labyrinth", "rings", "bricks")


def camouflage_scene(
    seed: int,
    index: int,
    size: int,
    ground_textures: Sequence[str] = GROUND_TEXTURES,
    object_textures: Sequence[str] = OBJECT_TEXTURES,
) -> tuple[np.ndarray, np.ndarray]:
    """Generate scene ``index`` of an endless sequence.

    Object and ground have textures of two families, but the same palette, mean, contrast, lighting and noise. Colour,
    brightness and place do not reveal the object, only its texture and outline do.

    Args:
        seed: Seed of the sequence.
        index: Index in the sequence.
        size: Side of the square image in pixels, at least 32.
        ground_textures: Families (keys of ``TEXTURES``) to draw the ground from.
        object_textures: Families to draw the object from. If both share families, no texture marks the object as such,
            only the difference to its surroundings does, which is much harder to learn.

    Returns:
        Image (size, size, 3) uint8 BGR and mask (size, size) uint8 in {0, 1}.
    """
    if size < 32:
        raise ValueError(f"camouflage_scene: size={size} is too small for a texture, use 32 or more")
    rng = np.random.default_rng((seed, index))
    mask = object_mask(rng, size)
    ground_name = rng.choice(ground_textures)
    object_name = rng.choice([name for name in object_textures if name != ground_name])
    ground, figure = TEXTURES[ground_name](rng, size), TEXTURES[object_name](rng, size)
    alpha = gaussian_filter(mask.astype(np.float32), 0.6)
    grey = ground * (1 - alpha) + _match_contrast(figure, ground, mask, rng) * alpha

    image = _palette(rng, grey)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    slope_y, slope_x = rng.uniform(-0.12, 0.12, 2)
    image = image * (1 + slope_y * y + slope_x * x)[..., None] + rng.normal(0, rng.uniform(1, 5), image.shape)
    return image.clip(0, 255).round().astype(np.uint8), mask


def object_mask(rng: Generator, size: int) -> np.ndarray:
    """Generate one object anywhere in the image, possibly cut by the border: (size, size) uint8 in {0, 1}.

    Its outline is a circle bent by random harmonics, stretched and rotated. It covers 7 % to 40 % of the image.
    """
    y, x = np.mgrid[:size, :size] / size
    while True:
        cy, cx = rng.uniform(0.15, 0.85, 2)
        angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 2.0)
        u = (np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)) / np.sqrt(stretch)
        v = (np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)) * np.sqrt(stretch)
        theta = np.arctan2(v, u)
        outline = np.ones_like(theta)
        for harmonic in range(2, 6):
            outline += rng.normal(0, 0.3 / harmonic) * np.cos(harmonic * theta + rng.uniform(0, 2 * np.pi))
        mask = np.hypot(u, v) < rng.uniform(0.2, 0.36) * outline.clip(0.3)
        if 0.07 <= mask.mean() <= 0.4:
            return mask.astype(np.uint8)


def _match_contrast(figure: np.ndarray, ground: np.ndarray, mask: np.ndarray, rng: Generator) -> np.ndarray:
    """Give the object's texture the mean and contrast of the ground, up to a small random error."""
    inside, outside = figure[mask > 0], ground[mask == 0]
    scale = outside.std() / (inside.std() + 1e-6) * rng.uniform(0.85, 1.15)
    return (figure - inside.mean()) * scale + outside.mean() + rng.normal(0, 0.15)


def _palette(rng: Generator, grey: np.ndarray) -> np.ndarray:
    """Colour a standardised grey map with a random ramp of earthy colours: (H, W, 3) float in 0..255."""
    base = rng.uniform(85, 165, 3)
    contrast = rng.uniform(60, 95)
    bend = rng.normal(0, 12, 3)
    level = np.tanh(grey / 2)[..., None]
    return base + contrast * level + bend * level**2
