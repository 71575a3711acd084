"""Procedural grey textures.

Each family is a function (rng, size) -> (size, size) float32 map with mean 0 and variance 1.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.ndimage import distance_transform_edt, gaussian_filter

Texture = Callable[[Generator, int], np.ndarray]
TEXTURES: dict[str, Texture] = {}


def _family(function: Texture) -> Texture:
    def standardised(rng: Generator, size: int) -> np.ndarray:
        texture = function(rng, size).astype(np.float32)
        return (texture - texture.mean()) / (texture.std() + 1e-6)

    TEXTURES[function.__name__] = standardised
    return standardised


def _rotated_grid(rng: Generator, size: int, warp: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return pixel coordinates (u, v) in a randomly rotated system, bent by smooth noise of ``warp`` pixels."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    if warp:
        x += warp * smooth_noise(rng, size, size / 8)
        y += warp * smooth_noise(rng, size, size / 8)
    angle = rng.uniform(0, np.pi)
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def smooth_noise(rng: Generator, size: int, sigma: float) -> np.ndarray:
    """Return standardised white noise, blurred by ``sigma`` pixels, that wraps around the borders."""
    frequency = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.rfftfreq(size)[None] ** 2
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * np.exp(-2 * (np.pi * sigma) ** 2 * frequency)
    noise = np.fft.irfft2(spectrum, s=(size, size))
    return ((noise - noise.mean()) / (noise.std() + 1e-9)).astype(np.float32)


def _period(rng: Generator, size: int, low: float = 0.045, high: float = 0.1) -> float:
    """Draw a wavelength in pixels, log-uniform between shares of the image side, at least 4 pixels."""
    return max(4.0, size * float(np.exp(rng.uniform(np.log(low), np.log(high)))))


@_family
def fractal(rng: Generator, size: int) -> np.ndarray:
    """Noise with a 1/f^b spectrum: bark, soil, cloud."""
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    radius[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * radius ** -rng.uniform(0.6, 1.4)
    return np.fft.irfft2(spectrum, s=(size, size))


@_family
def stripes(rng: Generator, size: int) -> np.ndarray:
    """Bent stripes: grass, zebra."""
    u, _ = _rotated_grid(rng, size, warp=rng.uniform(0, 0.03) * size)
    return np.tanh(rng.uniform(1, 4) * np.sin(2 * np.pi * u / _period(rng, size)))


@_family
def weave(rng: Generator, size: int) -> np.ndarray:
    """Two crossing gratings: cloth, scales."""
    u, v = _rotated_grid(rng, size, warp=rng.uniform(0, 0.015) * size)
    period = _period(rng, size)
    return np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / (period * rng.uniform(0.7, 1.4)))


@_family
def blotches(rng: Generator, size: int) -> np.ndarray:
    """Thresholded smooth noise: lichen, cow."""
    return np.tanh(rng.uniform(1, 4) * smooth_noise(rng, size, _period(rng, size) / 4))


@_family
def labyrinth(rng: Generator, size: int) -> np.ndarray:
    """Noise of a narrow band: brain coral, reaction and diffusion."""
    sigma = _period(rng, size) / 5
    noise = rng.standard_normal((size, size))
    band = gaussian_filter(noise, sigma, mode="wrap") - gaussian_filter(noise, 1.6 * sigma, mode="wrap")
    return np.tanh(rng.uniform(1, 3) * band / band.std())


@_family
def fibres(rng: Generator, size: int) -> np.ndarray:
    """Noise smeared along one direction: fur, straw."""
    u, v = _rotated_grid(rng, 2 * size)
    grain = gaussian_filter(rng.standard_normal((2 * size, 2 * size)), (0.8, _period(rng, size)), mode="wrap")
    rows, columns = np.mod(u, 2 * size).astype(int), np.mod(v, 2 * size).astype(int)
    return grain[rows, columns][size // 2 : size // 2 + size, size // 2 : size // 2 + size]


def _sites(rng: Generator, size: int, spacing: float) -> np.ndarray:
    """Return (size, size) bool, True at jittered grid points about ``spacing`` pixels apart."""
    steps = np.arange(0, size + spacing, spacing)
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    points: np.ndarray = grid + rng.uniform(-0.35, 0.35, grid.shape) * spacing
    points = np.unique(points.round().astype(int), axis=0)
    points = points[((points >= 0) & (points < size)).all(axis=1)]
    mask = np.zeros((size, size), bool)
    mask[points[:, 0], points[:, 1]] = True
    return mask


@_family
def cells(rng: Generator, size: int) -> np.ndarray:
    """Distance to the nearest of scattered points: pebbles, reptile skin."""
    distance = distance_transform_edt(~_sites(rng, size, _period(rng, size)))
    return distance if rng.random() < 0.5 else -distance


@_family
def mosaic(rng: Generator, size: int) -> np.ndarray:
    """Cells, each of one random grey: gravel, patchwork."""
    index = distance_transform_edt(~_sites(rng, size, _period(rng, size)), return_distances=False, return_indices=True)
    return rng.standard_normal((size, size))[index[0], index[1]]


@_family
def dots(rng: Generator, size: int) -> np.ndarray:
    """Round spots with a clear rim: leopard, berries."""
    period = _period(rng, size)
    distance = distance_transform_edt(~_sites(rng, size, period))
    return np.tanh(rng.uniform(0.15, 0.35) * period - distance)


@_family
def rings(rng: Generator, size: int) -> np.ndarray:
    """Bent circles around a far centre: wood, shells."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    cy, cx = rng.uniform(-0.6, 1.6, 2) * size
    radius = np.hypot(y - cy, x - cx) + rng.uniform(0, 0.05) * size * smooth_noise(rng, size, size / 6)
    phase = radius / _period(rng, size)
    return phase % 1 if rng.random() < 0.5 else np.sin(2 * np.pi * phase)


@_family
def bricks(rng: Generator, size: int) -> np.ndarray:
    """Offset blocks with dark joints: walls, bark plates."""
    u, v = _rotated_grid(rng, size, warp=rng.uniform(0, 0.01) * size)
    height = _period(rng, size)
    width = height * rng.uniform(1.3, 2.5)
    row = np.floor(v / height)
    across = (u + row % 2 * width / 2) % width
    joint = np.minimum(np.minimum(across, width - across), np.minimum(v % height, height - v % height))
    return np.tanh(joint - 0.12 * height)


@_family
def speckle(rng: Generator, size: int) -> np.ndarray:
    """Fine grain with sparse bright flecks: sand, granite."""
    grain = gaussian_filter(rng.standard_normal((size, size)), rng.uniform(0.6, 1.2), mode="wrap")
    return np.sign(grain) * np.abs(grain / grain.std()) ** rng.uniform(1.0, 2.0)
