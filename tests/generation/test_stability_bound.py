"""The bound never lies below the stability at the image's size, so no mask is lost by it."""

import pytest
import torch
import torch.nn.functional as F

from samplug.generation.binary import stability
from samplug.generation.stability_bound import stability_bound
from samplug.models.input_geometry import InputGeometry

# (height, width): smaller than the cells, equal to the input, larger, long, one pixel.
SIZES = [(20, 33), (64, 64), (47, 64), (150, 201), (400, 9), (3, 500), (1, 1)]


def fields(number, side):
    """Logits from speckle to a few large regions, some of them constant, some of them flat at a threshold."""
    generator = torch.Generator().manual_seed(side)
    parts = []
    for cells in (side, max(side // 2, 1), 4, 2):
        coarse = torch.randn(number, 1, cells, cells, generator=generator)
        smooth = F.interpolate(coarse, (side, side), mode="bicubic")[:, 0]
        parts.append(smooth * torch.logspace(-1, 1.5, number)[:, None, None])
    levels = torch.tensor([-5.0, -1.0, 0.0, 1.0, 1.0001, 5.0])[:, None, None].expand(-1, side, side)
    steps = torch.where(torch.randn(6, side, side, generator=generator) > 0, 1.0, -1.0)
    return torch.cat([*parts, levels, steps])


@pytest.mark.parametrize("mode", ["squash", "letterbox"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("side", "input_size"), [(16, 64), (32, 64), (20, 64), (2, 64), (1, 64)])
def test_no_mask_is_lost(mode, size, side, input_size):
    geometry = InputGeometry(input_size, size, mode)
    logits = fields(12, side)
    restored = geometry.restore(logits[:, None])[:, 0]
    for threshold, offset in ((0.0, 1.0), (2.0, 1.0), (0.0, 0.1), (-0.5, 0.0)):
        exact = stability(restored, threshold, offset)
        bound = stability_bound(logits, geometry, threshold, offset)
        kept = exact > 0  # neither NaN nor 0, which every threshold drops
        assert (bound[kept] >= exact[kept]).all(), (bound - exact)[kept].min()


@pytest.mark.parametrize("mode", ["squash", "letterbox"])
@pytest.mark.parametrize("size", [(480, 640), (300, 300), (700, 200)], ids=str)
def test_unstable_regions_are_found(mode, size):
    """Of regions of many cells, most that are not stable are known before they are enlarged."""
    geometry = InputGeometry(256, size, mode)
    logits = fields(40, 64)[80:160]
    exact = stability(geometry.restore(logits[:, None])[:, 0], 0.0, 1.0)
    bound = stability_bound(logits, geometry, 0.0, 1.0)
    unstable = ~(exact >= 0.8)
    assert unstable.sum() > 20
    assert (~(bound >= 0.8))[unstable].float().mean() > 0.8
