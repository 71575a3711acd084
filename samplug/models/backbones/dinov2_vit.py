"""The image encoder of DINOv2 (Oquab et al., 2023), with or without registers (Darcet et al., 2023)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models.backbones.arch import arch_sizes
from samplug.models.backbones.base import BlockTokens, Encoder, TokenTap
from samplug.models.backbones.sam_vit import PatchEmbed
from samplug.models.base import InitCfg
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, check_choice

_SIZES: dict[str, dict[str, Any]] = {
    "vits14": dict(embed_dims=384, depth=12, num_heads=6),
    "vitb14": dict(embed_dims=768, depth=12, num_heads=12),
    "vitl14": dict(embed_dims=1024, depth=24, num_heads=16),
    "vitg14": dict(embed_dims=1536, depth=40, num_heads=24, ffn="swiglu"),
}
# Published sizes, each also with four registers.
DINOV2_ARCHS: dict[str, dict[str, Any]] = _SIZES | {
    f"{name}_reg4": {**sizes, "num_registers": 4} for name, sizes in _SIZES.items()
}
_ARCH_DEFAULTS: dict[str, Any] = dict(num_registers=0, ffn="mlp", mlp_ratio=4, patch_size=14, pos_grid=37)
# The official code adds 0.1 to the size in patches, which also moves the points at which positions are sampled.
_OFFSET = 0.1


@MODELS.register_module()
class DINOv2ViT(Encoder):
    """Image encoder of DINOv2 with the official parameter names.

    Inputs may have any size, also non-square, in multiples of the patch size: positions are interpolated at run time.
    Files may come from DINOv2's site, from its training code or from Hugging Face. The mask token, which only DINOv2's
    training uses, is left out.

    Args:
        arch: ``'vits14'``, ``'vitb14'``, ``'vitl14'``, ``'vitg14'``, each also with ``'_reg4'`` for the models with
            four registers, or a dict with ``embed_dims``, ``depth``, ``num_heads`` and optionally ``num_registers``
            (0), ``ffn`` (``'mlp'`` or ``'swiglu'``), ``mlp_ratio`` (4), ``patch_size`` (14) and ``pos_grid`` (37, the
            side of the table of positions).
        img_size: Side in pixels of the square to which :meth:`preprocessor` pads, a multiple of the patch size. 224 is
            that of the published evaluations; at 518 no position is interpolated.
        pos_interp: Interpolation of positions. ``'official'``: as in DINOv2's code. ``'hf'``: as in transformers 5,
            with other features at all sizes but 518x518. Both are equal for models with registers.
        frozen: No gradients for any parameter; the encoder stays in eval mode, also after ``train()``.
            Models of samplug set it unless the config says ``frozen=False``.
        with_cp: Activation checkpointing of the blocks: less memory in training for about a third more time.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='dinov2_vits14_pretrain.pth')`` or
            ``checkpoint='hf://facebook/dinov2-small'``.

    Attributes:
        num_registers: Number of register tokens between the class token and the patches.

    Raises:
        ConfigError: Unknown name, a missing or unknown size, or sizes that do not fit each other.
    """

    interpolation = "bicubic"
    has_final_norm = True
    has_class_token = True
    no_taps = "they are a sequence with a class token, no map; use LoRAAdapter or no adapter, or a SAMViT as backbone"

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "vits14",
        img_size: int = 224,
        pos_interp: str = "official",
        frozen: bool = False,
        with_cp: bool = False,
        init_cfg: InitCfg = None,
    ) -> None:
        super().__init__(img_size, frozen, with_cp, init_cfg)
        sizes = resolve_arch(arch)
        self.patch_size: int = sizes["patch_size"]
        if img_size <= 0 or img_size % self.patch_size:
            raise ConfigError(
                f"DINOv2ViT: img_size={img_size} must be a positive multiple of the patch size {self.patch_size}"
            )
        check_choice("DINOv2ViT", "pos_interp", pos_interp, ("official", "hf"))
        self.pos_interp = pos_interp
        self.pos_grid: int = sizes["pos_grid"]
        self.num_registers: int = sizes["num_registers"]
        self.embed_dims = self.out_channels = dim = sizes["embed_dims"]

        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.pos_grid**2, dim))
        self.register_tokens = nn.Parameter(torch.zeros(1, self.num_registers, dim)) if self.num_registers else None
        self.patch_embed = PatchEmbed(dim, self.patch_size)
        self.blocks = nn.ModuleList(
            DINOv2Block(dim, sizes["num_heads"], sizes["mlp_ratio"], sizes["ffn"]) for _ in range(sizes["depth"])
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.apply_frozen()

    def init_weights(self) -> None:
        """Load the file of ``init_cfg``; without one draw values as DINOv2's training does."""
        if not self.init_cfg:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
            for token in (self.cls_token, self.register_tokens):
                if token is not None:
                    nn.init.normal_(token, std=1e-6)
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)
        super().init_weights()

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        return len(self.blocks)

    def check_input_size(self, height: int, width: int) -> None:
        """Raise a ConfigError unless both sides are multiples of the patch size."""
        patch = self.patch_size
        if height % patch or width % patch or not height or not width:
            fitting = "x".join(str(max(round(side / patch), 1) * patch) for side in (height, width))
            raise ConfigError(
                f"DINOv2ViT takes inputs whose sides are multiples of {patch} pixels and got {height}x{width}: resize, "
                f"crop or pad the images, for example to {fitting}"
            )

    def embed(self, images: Tensor) -> Tensor:
        """Compute the input of block 0, (N, 1 + num_registers + h w, C): class token, registers, patches by rows."""
        patches = self.patch_embed(images)
        positions = self._positions(*patches.shape[1:3])
        first = [self.cls_token + positions[:, :1]]
        if self.register_tokens is not None:
            first.append(self.register_tokens)
        return torch.cat(
            [*(token.expand(len(images), -1, -1) for token in first), patches.flatten(1, 2) + positions[:, 1:]], dim=1
        )

    def run_block(self, index: int, tokens: Tensor) -> Tensor:
        return self.blocks[index](tokens)

    def block_tokens(self, tokens: Tensor, size: tuple[int, int], norm: bool) -> BlockTokens:
        """Split tokens (N, 1 + num_registers + h w, C) into patch map and class token; registers are left out."""
        tokens = self.norm(tokens) if norm else tokens
        patches = tokens[:, 1 + self.num_registers :].transpose(1, 2).unflatten(2, size)
        return BlockTokens(patches, tokens[:, 0])

    def forward(self, images: Tensor, tap: TokenTap | None = None) -> tuple[Tensor]:
        """Encode images.

        Args:
            images: (N, 3, H, W) float, RGB, normalised with ``mean`` and ``std``; H and W are multiples of
                ``patch_size``.
            tap: None; the tokens cannot be tapped.

        Returns:
            The patch tokens after the final norm, (N, embed_dims, H / patch_size, W / patch_size), in a tuple.
            :meth:`tokens` gives the class token too.

        Raises:
            ConfigError: The input has another size, or there is a tap.
        """
        if tap is not None:
            self.check_taps(type(tap).__name__)
        (last,) = self.tokens(images)
        return (last.patches,)

    def _positions(self, height: int, width: int) -> Tensor:
        """Compute positions (1, 1 + height width, C) of the class token and of height x width patches."""
        grid = self.pos_grid
        if height == width == grid:
            return self.pos_embed
        table = self.pos_embed[:, 1:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2).float()
        how: dict[str, Any] = dict(mode="bicubic", align_corners=False)
        if self.num_registers:
            how |= dict(size=(height, width), antialias=True)
        elif self.pos_interp == "hf":
            how |= dict(size=(height, width))
        else:
            how |= dict(scale_factor=((height + _OFFSET) / grid, (width + _OFFSET) / grid))
        resized = F.interpolate(table, **how).permute(0, 2, 3, 1).flatten(1, 2)
        return torch.cat([self.pos_embed[:, :1], resized.to(self.pos_embed.dtype)], dim=1)


def resolve_arch(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Look up a published architecture, or check a dict of sizes; fill in defaults.

    Raises:
        ConfigError: Unknown name, a missing or unknown size, or a size that is not allowed.
    """
    sizes = arch_sizes("DINOv2ViT", arch, DINOV2_ARCHS, _ARCH_DEFAULTS)
    check_choice("DINOv2ViT", "ffn", sizes["ffn"], ("mlp", "swiglu"))
    if sizes["num_registers"] < 0 or sizes["pos_grid"] < 1:
        raise ConfigError(
            f"DINOv2ViT: num_registers={sizes['num_registers']} must not be negative, and pos_grid={sizes['pos_grid']} "
            "must be positive"
        )
    return sizes


class DINOv2Block(nn.Module):
    """Pre-norm transformer block on tokens (N, L, dim), with a learned scale of each branch."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, ffn: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, num_heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = (SwiGLU if ffn == "swiglu" else FeedForward)(dim, int(dim * mlp_ratio))
        self.ls2 = LayerScale(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens (N, L, dim)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    """Multiply each channel by a learned factor, 1e-5 at the start of a training (Touvron et al., 2021)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, branch: Tensor) -> Tensor:
        return branch * self.gamma


class FeedForward(nn.Module):
    """Two linear layers with exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class SwiGLU(nn.Module):
    """Gated linear layers (Shazeer, 2020) with about as many parameters as a :class:`FeedForward` of this width.

    The hidden width is two thirds of ``hidden``, rounded up to a multiple of 8.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        gated = (int(hidden * 2 / 3) + 7) // 8 * 8
        self.w12 = nn.Linear(dim, 2 * gated)
        self.w3 = nn.Linear(gated, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        gate, value = self.w12(tokens).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)
