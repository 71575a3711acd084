"""SAM-Adapter (Chen et al., 2023, arXiv 2304.09148): patches and edges of the image as input of each block."""

import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models.adapters.base import Adapter, AdapterTap
from samplug.models.adapters.high_pass import HighPassEmbed
from samplug.models.backbones.base import Encoder
from samplug.models.base import InitCfg
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError


@MODELS.register_module()
class SAMAdapter(Adapter):
    """Task features of the patch embedding and the high-pass image, with a projection for each block.

    With D = embed_dims and d = D / reduction, the input of block i becomes ``tokens + up(gelu(tune_i(e + h)))``: ``e``
    (D -> d) embeds the patches, ``h`` the high-pass image, ``tune_i`` (d -> d) is the block's own, ``up`` (d -> D) is
    shared by all.

    Args:
        reduction: D / d, 32 as published.
        init_cfg: Passed to MMEngine's ``BaseModule``.
    """

    def __init__(self, reduction: int = 32, init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        self.reduction = reduction

    def attach(self, encoder: Encoder) -> None:
        """Build the layers for an encoder.

        Raises:
            ConfigError: ``reduction`` does not divide the encoder's width, or its tokens cannot be tapped.
        """
        encoder.check_taps("SAMAdapter")
        embed_dims = encoder.embed_dims
        if self.reduction < 1 or embed_dims % self.reduction:
            raise ConfigError(
                f"SAMAdapter: reduction={self.reduction} does not divide the encoder's width of {embed_dims}: choose "
                "one that does"
            )
        width = embed_dims // self.reduction
        self.patch_tune = nn.Linear(embed_dims, width)
        self.high_pass_tune = HighPassEmbed(width, encoder.patch_size)
        self.block_tunes = nn.ModuleList(nn.Linear(width, width) for _ in range(encoder.depth))
        self.up = nn.Linear(width, embed_dims)
        for layer in (self.patch_tune, *self.block_tunes, self.up):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-2.0, b=2.0)
            nn.init.zeros_(layer.bias)

    def tap(self) -> "PromptPass":
        """Return hooks for one forward pass of the encoder."""
        return PromptPass(self)


class PromptPass(AdapterTap):
    """Hooks of SAM-Adapter into one forward pass.

    Attributes:
        features: The encoder's output, (N, out_channels, g, g); set when its forward pass is over.
    """

    features: tuple[Tensor]

    def __init__(self, adapter: SAMAdapter) -> None:
        self.adapter = adapter
        self.task: Tensor

    def _prompted(self, index: int, tokens: Tensor) -> Tensor:
        """Add the task features to the input (N, g, g, D) of block ``index``."""
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
