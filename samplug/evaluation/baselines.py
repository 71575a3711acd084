"""Baselines that need no training.

Functions in ``BASELINES`` map an image, (H, W, 3) uint8 BGR, to a map (H, W) uint8, 255 = certain foreground.
Functions in ``BOX_BASELINES`` also take a box, and return a mask (H, W) bool. Functions in ``REGION_BASELINES`` also
take a number of regions, and return a label map.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samplug.evaluation.functional import quantise

Box = Sequence[float]

_SPECTRAL_WIDTH = 64
_GRABCUT_SIDE = 256
_GRABCUT_MARGIN = 0.1
_GRABCUT_ITERATIONS = 5
_TEXTURE_SIDE = 128
_WAVELENGTHS = (4, 8, 16)  # pixels
_ORIENTATIONS = 4
_COLOUR_SIGMA = 4.0  # pixels


def constant(image: NDArray[np.uint8], level: int = 0) -> NDArray[np.uint8]:
    """Return the same value everywhere."""
    return np.full(image.shape[:2], level, np.uint8)


def centre_prior(image: NDArray[np.uint8], width: float = 0.25) -> NDArray[np.uint8]:
    """Return a Gaussian at the image's centre; its standard deviation is ``width`` times each side."""
    height, breadth = image.shape[:2]
    y = (np.arange(height) + 0.5) / height - 0.5
    x = (np.arange(breadth) + 0.5) / breadth - 0.5
    return quantise(np.exp(-(y[:, None] ** 2 + x**2) / (2 * width**2)))


def spectral_residual(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compute spectral residual saliency (Hou and Zhang, CVPR 2007) at a width of 64 pixels.

    It is the departure of the log spectrum from its smooth version.
    """
    height, width = image.shape[:2]
    size = (_SPECTRAL_WIDTH, max(1, round(_SPECTRAL_WIDTH * height / width)))
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    spectrum = np.fft.fft2(small.astype(np.float64))
    log_amplitude = np.log(np.abs(spectrum) + 1e-9)
    residual = log_amplitude - ndimage.uniform_filter(log_amplitude, 3, mode="wrap")
    saliency = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    saliency = cv2.resize(cv2.GaussianBlur(saliency, (0, 0), 2.5), (width, height), interpolation=cv2.INTER_LINEAR)
    spread = saliency.max() - saliency.min()
    return quantise((saliency - saliency.min()) / spread) if spread > 0 else constant(image)


def grabcut(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Run :func:`grabcut_box` from a box a tenth inside the image's border."""
    height, width = image.shape[:2]
    x, y = width * _GRABCUT_MARGIN, height * _GRABCUT_MARGIN
    return grabcut_box(image, (x, y, width - 1 - x, height - 1 - y)).astype(np.uint8) * np.uint8(255)


def box_fill(image: NDArray[np.uint8], box: Box) -> NDArray[np.bool_]:
    """Fill a box.

    Args:
        image: (H, W, 3).
        box: (x0, y0, x1, y1) in pixels, the first and the last column and row of the object, inclusive.

    Returns:
        (H, W) bool.
    """
    mask = np.zeros(image.shape[:2], bool)
    x0, y0, x1, y1 = (round(side) for side in box)
    mask[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = True
    return mask


def grabcut_box(image: NDArray[np.uint8], box: Box) -> NDArray[np.bool_]:
    """Run GrabCut (Rother et al., SIGGRAPH 2004) from a box, at a longer side of at most 256 pixels.

    Arguments and result as for :func:`box_fill`. A box that leaves no background to learn from is filled.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _GRABCUT_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    x0, y0 = (max(0, round(side * scale)) for side in box[:2])
    x1, y1 = (min(last, round((side + 1) * scale)) for side, last in zip(box[2:], size, strict=True))
    if x1 <= x0 or y1 <= y0 or (x0, y0, x1, y1) == (0, 0, *size):
        return box_fill(image, box)
    labels = np.zeros(small.shape[:2], np.uint8)
    cv2.setRNGSeed(0)  # GrabCut's k-means starts at random
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, labels, (x0, y0, x1 - x0, y1 - y0), *models, _GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_RECT)
    chosen = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    return cv2.resize(chosen, (width, height), interpolation=cv2.INTER_NEAREST_EXACT).view(np.bool_)


def texture_kmeans(image: NDArray[np.uint8], regions: int) -> NDArray[np.uint8]:
    """Cluster the pixels of an image by colour and texture: k-means on smoothed CIELAB values and Gabor energies.

    Features are computed with the longer side reduced to 128 pixels. Each feature is standardised; colour and texture
    have equal weight. Gabor energies are smoothed over their wavelength.

    Args:
        image: (H, W, 3) uint8 BGR.
        regions: Number of clusters.

    Returns:
        (H, W) uint8, the cluster of each pixel, 0..regions-1.
    """
    from sklearn.cluster import KMeans

    height, width = image.shape[:2]
    scale = min(1.0, _TEXTURE_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    lab: Any = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    energies = [
        cv2.GaussianBlur(_gabor_energy(lab[..., 0], wavelength, np.pi * k / _ORIENTATIONS), (0, 0), wavelength)
        for wavelength in _WAVELENGTHS
        for k in range(_ORIENTATIONS)
    ]
    features = np.dstack([cv2.GaussianBlur(lab, (0, 0), _COLOUR_SIGMA), *energies]).reshape(-1, 3 + len(energies))
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    features[:, :3] *= np.sqrt(len(energies) / 3)
    regions = min(regions, len(np.unique(features, axis=0)))
    groups = KMeans(regions, n_init=2, random_state=0).fit_predict(features).astype(np.uint8).reshape(size[::-1])
    return cv2.resize(groups, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _gabor_energy(grey: NDArray[np.float32], wavelength: float, angle: float) -> NDArray[np.float32]:
    """Return the amplitude of the response to a pair of even and odd Gabor filters."""
    energy: Any = np.zeros_like(grey)
    for phase in (0, -np.pi / 2):
        kernel: Any = cv2.getGaborKernel((0, 0), wavelength / 2, angle, wavelength, 1, phase)
        kernel -= kernel.mean()
        energy += cv2.filter2D(grey, -1, kernel / np.abs(kernel).sum(), borderType=cv2.BORDER_REFLECT) ** 2
    return np.sqrt(energy)


Baseline = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

# Baselines that start from a box, to compare with a promptable model.
BOX_BASELINES = {"box": box_fill, "grabcut": grabcut_box}
BASELINES: dict[str, Baseline] = {
    "constant": constant,
    "centre-prior": centre_prior,
    "spectral-residual": spectral_residual,
    "grabcut": grabcut,
}
# Baselines that look at the image; the others depend on its size alone.
NEEDS_IMAGE = frozenset({"spectral-residual", "grabcut"})
# Baselines that partition an image into a given number of regions.
REGION_BASELINES: dict[str, Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]] = {"texture-kmeans": texture_kmeans}
