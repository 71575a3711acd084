"""SAM-Adapter (Chen et al., 2023, arXiv 2304.09148): what an image's patches and edges say, added to the input of each block."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models.adapters.base import Adapter, AdapterTap
from samplug.models.adapters.high_pass import HighPassEmbed
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError


@MODELS.register_module()
class SAMAdapter(Adapter):
    """Task features from the patch embedding and the high-pass image; each block gets its own view of them.

    With D = embed_dims and d = D / reduction, the input of block i becomes ``tokens + up(gelu(tune_i(e + h)))``: ``e`` (D -> d) embeds the
    patches, ``h`` the high-pass image, ``tune_i`` (d -> d) is the block's own, ``up`` (d -> D) is shared by all.

    Args:
        embed_dims: Width of the encoder's tokens.
        depth: Number of the encoder's blocks.
        feature_channels: Channels of the encoder's output; not used, nothing is added behind the blocks.
        patch_size: Patch size of the encoder.
        reduction: D / d, 32 as published.
        init_cfg: Passed to MMEngine's ``BaseModule``.

    Raises:
        ConfigError: ``reduction`` does not divide ``embed_dims``.
    """

    def __init__(
        self,
        embed_dims: int,
        depth: int,
        feature_channels: int = 256,
        patch_size: int = 16,
        reduction: int = 32,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if reduction < 1 or embed_dims % reduction:
            raise ConfigError(
                f"SAMAdapter: reduction={reduction} does not divide the encoder's width of {embed_dims}: choose one that does"
            )
        width = embed_dims // reduction
        self.patch_tune = nn.Linear(embed_dims, width)
        self.high_pass_tune = HighPassEmbed(width, patch_size)
        self.block_tunes = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.up = nn.Linear(width, embed_dims)
        for layer in (self.patch_tune, *self.block_tunes, self.up):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-2.0, b=2.0)
            nn.init.zeros_(layer.bias)

    def tap(self) -> "PromptPass":
        """The adapter's state for one forward pass of the encoder."""
        return PromptPass(self)


class PromptPass(AdapterTap):
    """One pass of SAM-Adapter along the encoder's token stream.

    Attributes:
        features: After the encoder's forward: its output, (N, feature_channels, g, g).
    """

    features: tuple[Tensor]

    def __init__(self, adapter: SAMAdapter) -> None:
        self.adapter = adapter
        self.task: Tensor

    def _prompted(self, index: int, tokens: Tensor) -> Tensor:
        """The input of block ``index``, (N, g, g, D)."""
        return tokens + self.adapter.up(F.gelu(self.adapter.block_tunes[index](self.task)))

    def after_embed(self, images: Tensor, patches: Tensor, tokens: Tensor) -> Tensor:
        edges = self.adapter.high_pass_tune(images).permute(0, 2, 3, 1)
        self.task = self.adapter.patch_tune(patches) + edges
        return self._prompted(0, tokens)

    def after_block(self, index: int, tokens: Tensor) -> Tensor:
        last = index + 1 == len(self.adapter.block_tunes)
        return tokens if last else self._prompted(index + 1, tokens)

    def after_neck(self, features: Tensor) -> Tensor:
        self.features = (features,)
        return features
