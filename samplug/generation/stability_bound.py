"""Upper bound of the stability of masks, from their logits before these are enlarged."""

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from samplug.models.input_geometry import InputGeometry

_ROUNDING = 1e-5  # of sums of pixels in float32
_SLACK = 1e-4  # of the largest logit: places and weights of the interpolation are rounded to float32


def stability_bound(logits: Tensor, geometry: InputGeometry, threshold: float, offset: float) -> Tensor:
    """Bound from above what :func:`stability` finds after ``geometry.restore``.

    An enlarged pixel lies between the smallest and the largest of the cells that it is interpolated from. So it can be
    above the upper threshold only if one of its cells is, and is above the lower one if all of them are.

    Args:
        logits: (K, h, w) over the network's input.
        geometry: Place of the image in the input.
        threshold: Logit above which a pixel is foreground.
        offset: Distance of the two thresholds from it.

    Returns:
        (K,) float32; infinite where no pixel is sure to be above the lower threshold, NaN if none can be above the
        upper one either.
    """
    slack = _SLACK * logits.abs().amax(dim=(1, 2), keepdim=True)
    possible = (logits > threshold + offset - slack).to(torch.uint8)
    certain = (logits > threshold - offset + slack).to(torch.uint8)
    rows, columns = (_windows(geometry, axis, logits.shape[1 + axis], logits.device) for axis in (0, 1))
    inner, outer = torch.zeros(2, len(logits), device=logits.device)
    for height, row_pixels in rows.items():
        for width, column_pixels in columns.items():
            windows = [
                _pooled(_pooled(cells, 1, height, pick), 2, width, pick).float() @ column_pixels @ row_pixels
                for cells, pick in ((possible, torch.maximum), (certain, torch.minimum))
            ]
            inner += windows[0]
            outer += windows[1]
    return inner / outer * (1 + _ROUNDING)


def _pooled(cells: Tensor, dim: int, size: int, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Pick from the windows of ``size`` cells along an axis, one window at each start."""
    pooled = cells.narrow(dim, 0, cells.shape[dim] - size + 1)
    for start in range(1, size):
        pooled = pick(pooled, cells.narrow(dim, start, cells.shape[dim] - size + 1))
    return pooled


@lru_cache(maxsize=8)  # each batch of an image asks again
def _windows(geometry: InputGeometry, axis: int, cells: int, device: torch.device) -> Mapping[int, Tensor]:
    """Return for each size of a window of cells how many lines of pixels are made from the window at each start."""
    first, last = _sources(geometry, axis, cells)
    sizes = (last - first + 1).clamp(min=min(2, cells))
    windows = {}
    for size in sizes.unique().tolist():
        starts = first[sizes == size].clamp(max=cells - size)
        windows[size] = torch.bincount(starts, minlength=cells - size + 1).float().to(device)
    return windows


def _sources(geometry: InputGeometry, axis: int, cells: int) -> tuple[Tensor, Tensor]:
    """Return the first and last cell that each line of pixels of the image is interpolated from."""
    pixels = geometry.original[axis]
    if geometry.mode == "squash":
        return _neighbours(torch.arange(pixels), cells, pixels)
    # Cells -> input -> image, without the padding; cells of padding may take part in its last lines.
    filled = geometry.filled[axis]
    places = torch.arange(pixels)
    near = (places, places) if filled == pixels else _neighbours(places, filled, pixels)
    ends = [_neighbours(place, cells, geometry.size) for place in near]
    return ends[0][0], ends[1][1]


def _neighbours(places: Tensor, before: int, after: int) -> tuple[Tensor, Tensor]:
    source = ((places.double() + 0.5) * (before / after) - 0.5).clamp(min=0)
    first = source.floor().long().clamp(max=before - 1)
    return first, (first + 1).clamp(max=before - 1)
