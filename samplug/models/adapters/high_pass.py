"""High-pass filtered images, an input of TS-SAM's and SAM-Adapter's adapters."""

import math

import torch
from torch import Tensor, nn

_RATE = 0.25


class HighPassEmbed(nn.Module):
    """Patch embedding of the high-pass image."""

    def __init__(self, channels: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images (N, 3, H, W) as (N, channels, H / p, W / p)."""
        return self.proj(high_pass(images))


@torch.no_grad()
def high_pass(images: Tensor, rate: float = _RATE) -> Tensor:
    """Remove the central ``rate`` of the images' spectrum and return the magnitude (SAM-Adapter; TS-SAM does the same).

    Args:
        images: (N, C, H, W) float.
        rate: Share of the spectrum that is removed: a centred square of half-width floor(sqrt(H * W * rate) / 2).

    Returns:
        (N, C, H, W) float32.
    """
    with torch.autocast(images.device.type, enabled=False):
        height, width = images.shape[-2:]
        half = int(math.sqrt(height * width * rate) / 2)
        spectrum = torch.fft.fftshift(torch.fft.fft2(images.float(), norm="forward"), dim=(-2, -1))
        rows, columns = height // 2, width // 2
        spectrum[..., rows - half : rows + half, columns - half : columns + half] = 0
        return torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)), norm="forward").real.abs()
