"""Components of the small texture model: an encoder for training from scratch, and losses on regions of a label map."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models import PromptableSAM
from samplug.models.backbones import BlockTokens, Encoder, TokenTap
from samplug.models.layers import LayerNorm2d
from samplug.models.losses.prompted import dice_loss, mask_iou
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

_NOTHING = 255  # label of pixels that belong to no region


@MODELS.register_module()
class TextureUNet(Encoder):
    """Convolutions with normalisation over the image, in the shape of a U-Net, with the three maps of SAM 2's encoder.

    Normalisation over the image makes features relative to the image, as k-means on standardised features is. This
    learns textures from far fewer images than a transformer does.

    Args:
        img_size: Side of the square input in pixels, a multiple of 32 and at least 64.
        widths: Channels at strides 2, 4, 8 and 16; stride 32 has as many as stride 16.
        **kwargs: ``frozen`` and the other arguments of :class:`Encoder`.

    Raises:
        ConfigError: ``img_size`` does not fit.
    """

    patch_size = 16
    out_channels = 256
    no_taps = "it has no token stream"

    def __init__(self, img_size: int = 192, widths: Sequence[int] = (24, 48, 80, 128), **kwargs: Any) -> None:
        super().__init__(img_size, **kwargs)
        if img_size % 32 or img_size < 64:
            raise ConfigError(f"TextureUNet: img_size={img_size} is not a multiple of 32 of at least 64")
        self.widths = tuple(widths)
        self.embed_dims = widths[-1]
        stem = widths[0]
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 5, 2, 2, bias=False), _norm(stem), nn.GELU())
        self.down = nn.ModuleList(
            nn.Sequential(Residual(inner, outer, 2), Residual(outer, outer))
            for inner, outer in pairwise([*widths, widths[-1]])
        )
        self.up = nn.ModuleList(
            Residual(coarse + fine, fine) for coarse, fine in pairwise([widths[-1], *reversed(widths[1:])])
        )
        self.out = nn.ModuleList(nn.Conv2d(width, self.out_channels, 1) for width in widths[1:])
        self.norm = LayerNorm2d(self.out_channels)
        # Smaller than the position encoding, by which the decoder finds the prompts.
        nn.init.constant_(self.norm.weight, 0.5)
        self.apply_frozen()

    @property
    def depth(self) -> int:
        return len(self.down)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return (*self.widths[1:], self.widths[-1])

    def embed(self, images: Tensor) -> Tensor:
        return self.stem(images)

    def run_block(self, index: int, tokens: Tensor) -> Tensor:
        return self.down[index](tokens)

    def block_tokens(self, tokens: Tensor, size: tuple[int, int], norm: bool) -> BlockTokens:
        return BlockTokens(tokens, None)

    def forward(self, images: Tensor, tap: TokenTap | None = None) -> tuple[Tensor, ...]:
        self.check_input_size(*images.shape[-2:])
        if tap is not None:
            self.check_taps(type(tap).__name__)
        x = self.embed(images.contiguous(memory_format=torch.channels_last))
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x, maps = skips.pop(), []
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2, mode="bilinear"), skip], dim=1))
            maps.append(x)
        fine, middle, coarse = (out(x) for out, x in zip(self.out, reversed(maps), strict=True))
        return fine, middle, self.norm(coarse)


class Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = _norm(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = _norm(outer)
        same = inner == outer and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inner, outer, 1, stride, bias=False)
        nn.init.constant_(self.norm2.weight, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.gelu(self.norm1(self.conv1(x)))))
        return F.gelu(y + self.shortcut(x))


def _norm(channels: int) -> nn.GroupNorm:
    """Normalise each channel over the image."""
    return nn.GroupNorm(channels, channels)


@MODELS.register_module()
class RegionSAM(PromptableSAM):
    """Train a promptable model on label maps whose regions fill the image: pixel embeddings first, then clicks.

    Two losses: an affinity loss on the decoder's pixel embeddings, which needs no prompts, and one for the mask of a
    single click at a random pixel, whose target is the region around it. Testing is that of :class:`PromptableSAM`.

    Args:
        clicks: Number of clicks per image; 0: the affinity loss alone, which trains encoder and upscaling.
        pixels: Number of random pixels per image; the affinity loss compares all their pairs.
        affinity_weight: Weight of the affinity loss.
        **kwargs: Arguments of :class:`PromptableSAM`.
    """

    def __init__(self, clicks: int = 8, pixels: int = 384, affinity_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clicks, self.pixels, self.affinity_weight = clicks, pixels, affinity_weight

    def loss(self, inputs: Tensor, data_samples: Sequence[Any]) -> dict[str, Tensor]:
        """Compute ``loss_affinity`` and, with clicks, ``loss_mask``, ``loss_dice`` and ``loss_iou``.

        Args:
            inputs: (N, 3, S, S) normalised images.
            data_samples: N samples with a label map ``gt_sem_seg`` (1, S, S), 255 where no region is known.
        """
        features = self.encode(inputs, data_samples)
        labels = torch.cat([each.gt_sem_seg.data for each in data_samples]).to(inputs.device, torch.int64)
        small = labels[:, 2::4, 2::4]
        embeddings = self.decode_head.pixel_embeddings(features)
        losses = dict(loss_affinity=self.affinity_weight * affinity_loss(embeddings, small, self.pixels))
        if self.clicks:
            losses.update(self._click_losses(features, labels, small))
        else:
            unused = [parameter.flatten()[:0].sum() for parameter in self.decode_head.parameters()]
            losses["loss_affinity"] = losses["loss_affinity"] + sum(unused)
        return losses

    def _click_losses(self, features: tuple[Tensor, ...], labels: Tensor, small: Tensor) -> dict[str, Tensor]:
        images, size = len(labels), self.img_size
        places = torch.randint(size * size, (images, self.clicks), device=labels.device)
        clicked = labels.flatten(1).gather(1, places)
        points = torch.stack([places % size, places // size], dim=-1)[:, :, None]
        grid, positive = features[-1].shape[-1], torch.ones_like(points[..., 0])
        sparse, _ = self.decode_head.embed_prompts(size, grid, points, positive)
        logits, iou, _ = self.decode_head.decode(features, sparse)
        target = (small[:, None] == clicked[..., None, None]).float().flatten(0, 1)[:, None]
        valid = ((small[:, None] != _NOTHING) & (clicked != _NOTHING)[..., None, None]).float().flatten(0, 1)[:, None]
        logits = logits.flatten(0, 1).float()
        wrong = F.binary_cross_entropy_with_logits(logits, target, weight=valid)
        error = (iou.flatten(0, 1).float() - mask_iou(logits.detach(), target, valid)).abs()
        overlap = dice_loss(logits, target, valid).mean()
        return dict(loss_mask=wrong, loss_dice=0.5 * overlap, loss_iou=0.2 * error.mean())


def affinity_loss(embeddings: Tensor, labels: Tensor, pixels: int) -> Tensor:
    """Compare pairs of random pixels: cross-entropy of "same region" from the cosine of their embeddings.

    Pairs of one region and of two regions count alike in each image.

    Args:
        embeddings: (N, C, h, w) float.
        labels: (N, h, w) int64, 255 where no region is known.
        pixels: Number of random pixels per image.

    Returns:
        Scalar.
    """
    chosen = torch.randint(labels[0].numel(), (len(labels), pixels), device=labels.device)
    vectors = embeddings.float().flatten(2).gather(2, chosen[:, None].expand(-1, embeddings.shape[1], -1))
    vectors = F.normalize(vectors, dim=1)
    logits = 10 * (vectors.transpose(1, 2) @ vectors - 0.5)
    label = labels.flatten(1).gather(1, chosen)
    known = (label != _NOTHING).float()
    pairs = known[:, :, None] * known[:, None]
    same = (label[:, :, None] == label[:, None]).float() * pairs
    share = (same.sum((1, 2), keepdim=True) / pairs.sum((1, 2), keepdim=True).clamp(min=1)).clamp(0.05, 0.95)
    weight = pairs * torch.where(same > 0, 0.5 / share, 0.5 / (1 - share))
    return F.binary_cross_entropy_with_logits(logits, same, weight=weight)

