"""Cutting token maps into windows for local attention, and merging them."""

import torch.nn.functional as F
from torch import Tensor


def partition_windows(x: Tensor, size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut (N, H, W, C) into (N * windows, size, size, C), zero-padded at bottom and right.

    SAM does not mask the padded tokens: the bias of ``qkv`` makes them take part in the attention.

    Returns:
        The windows and the padded (H, W).
    """
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
    rows, columns = x.shape[1] // size, x.shape[2] // size
    windows = x.reshape(batch, rows, size, columns, size, channels).transpose(2, 3)
    return windows.reshape(-1, size, size, channels), (rows * size, columns * size)


def merge_windows(windows: Tensor, size: int, padded: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """Inverse of :func:`partition_windows`: (N * windows, size, size, C) -> (N, H, W, C), padding cropped."""
    rows, columns = padded[0] // size, padded[1] // size
    x = windows.reshape(-1, rows, columns, size, size, windows.shape[-1]).transpose(2, 3)
    return x.reshape(-1, *padded, windows.shape[-1])[:, : shape[0], : shape[1]]
