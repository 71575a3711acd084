"""The image encoder of CLIP (Radford et al., 2021): a ViT with a class token and a projection shared with text."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models.backbones.arch import arch_sizes
from samplug.models.backbones.base import BlockTokens, Encoder, TokenTap
from samplug.models.base import InitCfg
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, check_choice

# Published sizes, the same for OpenAI's and LAION's weights.
CLIP_ARCHS: dict[str, dict[str, Any]] = {
    "vit_b32": dict(embed_dims=768, depth=12, num_heads=12, patch_size=32, projection_dims=512),
    "vit_b16": dict(embed_dims=768, depth=12, num_heads=12, patch_size=16, projection_dims=512),
    "vit_l14": dict(embed_dims=1024, depth=24, num_heads=16, patch_size=14, projection_dims=768),
}
_ARCH_DEFAULTS: dict[str, Any] = dict(mlp_ratio=4, pretrain_img_size=224)


@MODELS.register_module()
class CLIPViT(Encoder):
    """Image encoder of CLIP with the official parameter names.

    One name differs: ``attn.in_proj_weight`` is ``attn.in_proj.weight``, a linear layer, so that LoRA can adapt it.

    Inputs may have any size that is a multiple of the patch size, also in one direction only: the table of positions
    is interpolated bicubically at run time, as in transformers. :meth:`forward` and, by default, :meth:`tokens` apply
    ``ln_post`` to all tokens, as open_clip does.

    Weight files do not tell their activation. OpenAI's weights need ``'quick_gelu'``, those of LAION and most others in
    open_clip ``'gelu'``; the wrong one costs accuracy without an error.

    Args:
        arch: ``'vit_b32'``, ``'vit_b16'``, ``'vit_l14'``, or a dict with ``embed_dims``, ``depth``, ``num_heads``,
            ``patch_size``, ``projection_dims`` and optionally ``mlp_ratio`` (4) and ``pretrain_img_size`` (224, the
            input size that the table of positions belongs to).
        img_size: Side of the square input that :meth:`preprocessor` makes, a multiple of the patch size.
        project: Keep the projection of the class token to the space that images share with text, for :meth:`project`.
            Without it, ``proj`` of a weight file is left out. Maps do not depend on it, so a model that is trained with
            a decoder should leave it out.
        activation: ``'quick_gelu'`` or ``'gelu'``.
        frozen: No gradients for any parameter; the encoder stays in eval mode, also after ``train()``.
            Models of samplug set it unless the config says ``frozen=False``.
        with_cp: Activation checkpointing of the blocks: less memory in training for about a third more time.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='hf://openai/clip-vit-base-patch32')``.

    Raises:
        ConfigError: Unknown name, a missing or unknown size, or sizes that do not fit each other.
    """

    mean = (122.7709383, 116.7460125, 104.09373615)
    std = (68.5005327, 66.6321579, 70.32316305)
    interpolation = "bicubic"
    has_final_norm = True
    has_class_token = True
    no_taps = "class token and patches are one sequence; use LoRAAdapter or no adapter, or a SAMViT as backbone"

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "vit_b32",
        img_size: int = 224,
        project: bool = False,
        activation: str = "quick_gelu",
        frozen: bool = False,
        with_cp: bool = False,
        init_cfg: InitCfg = None,
    ) -> None:
        super().__init__(img_size, frozen, with_cp, init_cfg)
        sizes = arch_sizes("CLIPViT", arch, CLIP_ARCHS, _ARCH_DEFAULTS)
        check_choice("CLIPViT", "activation", activation, tuple(_ACTIVATIONS))
        self.patch_size: int = sizes["patch_size"]
        for name, side in (("img_size", img_size), ("pretrain_img_size", sizes["pretrain_img_size"])):
            if side <= 0 or side % self.patch_size:
                raise ConfigError(
                    f"CLIPViT: {name}={side} must be a positive multiple of the patch size {self.patch_size}"
                )
        self.embed_dims: int = sizes["embed_dims"]
        self.out_channels = self.embed_dims
        self.projection_dims = sizes["projection_dims"] if project else None

        width, scale = self.embed_dims, self.embed_dims**-0.5
        self.grid: int = sizes["pretrain_img_size"] // self.patch_size
        self.conv1 = nn.Conv2d(3, width, kernel_size=self.patch_size, stride=self.patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(self.grid**2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(
            ResidualAttentionBlock(width, sizes["num_heads"], int(width * sizes["mlp_ratio"]), activation)
            for _ in range(sizes["depth"])
        )
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, sizes["projection_dims"])) if project else None
        self.apply_frozen()

    def adapt_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the projection if the encoder has none; :func:`samplug.checkpoints.load_weights` calls it."""
        return {name: value for name, value in state.items() if self.proj is not None or name != "proj"}

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        return len(self.transformer.resblocks)

    def embed(self, images: Tensor) -> Tensor:
        patches = self.conv1(images)
        class_token = self.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], dim=1)
        return self.ln_pre(tokens + self._positions(*patches.shape[-2:]))

    def run_block(self, index: int, tokens: Tensor) -> Tensor:
        return self.transformer.resblocks[index](tokens)

    def block_tokens(self, tokens: Tensor, size: tuple[int, int], norm: bool) -> BlockTokens:
        tokens = self.ln_post(tokens) if norm else tokens
        return BlockTokens(tokens[:, 1:].transpose(1, 2).unflatten(2, size), tokens[:, 0])

    def forward(self, images: Tensor, tap: TokenTap | None = None) -> tuple[Tensor]:
        """Encode images.

        Args:
            images: (N, 3, H, W) float, RGB, normalised with ``mean`` and ``std``; H and W are multiples of the patch
                size.
            tap: None; the tokens cannot be tapped.

        Returns:
            One map (N, embed_dims, H / patch_size, W / patch_size) of patch tokens after ``ln_post``.

        Raises:
            ConfigError: The input size is no multiple of the patch size, or there is a tap.
        """
        if tap is not None:
            self.check_taps(type(tap).__name__)
        return (self.tokens(images)[0].patches,)

    def project(self, class_token: Tensor) -> Tensor:
        """Map class tokens (N, C) of the last block, after ``ln_post``, to CLIP's image embedding.

        Returns:
            (N, projection_dims), not normalised.

        Raises:
            ConfigError: The encoder was built without projection.
        """
        if self.proj is None:
            raise ConfigError("CLIPViT was built without projection: set project=True in its config")
        return class_token @ self.proj

    def check_input_size(self, height: int, width: int) -> None:
        """Raise a ConfigError unless height and width are multiples of the patch size."""
        if height % self.patch_size or width % self.patch_size or not height * width:
            raise ConfigError(
                f"CLIPViT takes multiples of {self.patch_size} pixels and got {height}x{width}: resize or pad images"
            )

    def _positions(self, height: int, width: int) -> Tensor:
        """Compute positions (1 + height * width, C); that of the class token is never interpolated."""
        table = self.positional_embedding
        if (height, width) == (self.grid, self.grid):
            return table
        maps = table[1:].float().unflatten(0, (self.grid, self.grid)).permute(2, 0, 1)
        resized = F.interpolate(maps[None], size=(height, width), mode="bicubic", align_corners=False)[0]
        return torch.cat([table[:1], resized.flatten(1).T.to(table.dtype)])


class Transformer(nn.Module):
    """Blocks under CLIP's name, ``resblocks``; the encoder runs them."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)


class ResidualAttentionBlock(nn.Module):
    """Pre-norm transformer block on tokens (N, L, dim)."""

    def __init__(self, dim: int, num_heads: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(dim, hidden), gelu=_ACTIVATIONS[activation](), c_proj=nn.Linear(hidden, dim))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Attention(nn.Module):
    """Multi-head self-attention of ``nn.MultiheadAttention``, with linear layers that adapters find."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.in_proj(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class QuickGELU(nn.Module):
    """OpenAI's approximation of GELU: ``x * sigmoid(1.702 x)``."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"quick_gelu": QuickGELU, "gelu": nn.GELU}
