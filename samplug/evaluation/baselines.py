"""Predictions that need no training: what a score is worth nothing without.

Each is a function of an image, (H, W, 3) uint8 BGR, and returns a map (H, W) uint8, 255 = certain foreground.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samplug.evaluation.functional import quantise

_SPECTRAL_WIDTH = 64
_GRABCUT_SIDE = 256
_GRABCUT_MARGIN = 0.1
_GRABCUT_ITERATIONS = 5


def constant(image: NDArray[np.uint8], level: int = 0) -> NDArray[np.uint8]:
    """The same value everywhere."""
    return np.full(image.shape[:2], level, np.uint8)


def centre_prior(image: NDArray[np.uint8], width: float = 0.25) -> NDArray[np.uint8]:
    """A Gaussian at the image's centre, ``width`` of each side wide."""
    height, breadth = image.shape[:2]
    y = (np.arange(height) + 0.5) / height - 0.5
    x = (np.arange(breadth) + 0.5) / breadth - 0.5
    return quantise(np.exp(-(y[:, None] ** 2 + x**2) / (2 * width**2)))


def spectral_residual(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Spectral residual saliency (Hou and Zhang, CVPR 2007): what departs from the smooth log spectrum, at 64 pixels' width."""
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
    """GrabCut (Rother et al., SIGGRAPH 2004) from a box a tenth inside the image's border, at 256 pixels."""
    height, width = image.shape[:2]
    scale = min(1.0, _GRABCUT_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    x, y = (round(side * _GRABCUT_MARGIN) for side in size)
    box = x, y, size[0] - 2 * x, size[1] - 2 * y
    if min(x, y) == 0:  # no border to learn the background from
        return constant(image, 255)
    labels = np.zeros(small.shape[:2], np.uint8)
    cv2.setRNGSeed(0)  # its k-means starts at random
    cv2.grabCut(small, labels, box, np.zeros((1, 65)), np.zeros((1, 65)), _GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_RECT)
    chosen = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * np.uint8(255)
    return cv2.resize(chosen, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[return-value]


Baseline = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

BASELINES: dict[str, Baseline] = {
    "constant": constant,
    "centre-prior": centre_prior,
    "spectral-residual": spectral_residual,
    "grabcut": grabcut,
}
# The rest depend on the image's size alone.
NEEDS_IMAGE = frozenset({"spectral-residual", "grabcut"})
