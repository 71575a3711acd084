"""The image encoder of Segment Anything (Kirillov et al., 2023): a windowed ViT with decomposed relative positions."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models.backbones.arch import arch_sizes
from samplug.models.backbones.attention import ATTENTION_FORMS, AttentionFn, relative_table
from samplug.models.backbones.base import Encoder, TokenTap
from samplug.models.backbones.windows import merge_windows, partition_windows
from samplug.models.base import InitCfg
from samplug.models.layers import LayerNorm2d
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

# Published sizes: width, depth, heads, blocks with global attention.
SAM_ARCHS: dict[str, dict[str, Any]] = {
    "vit_b": dict(embed_dims=768, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11)),
    "vit_l": dict(embed_dims=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23)),
    "vit_h": dict(embed_dims=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31)),
}
_ARCH_DEFAULTS: dict[str, Any] = dict(window_size=14, mlp_ratio=4, patch_size=16)


@MODELS.register_module()
class SAMViT(Encoder):
    """Image encoder of SAM with the official parameter names.

    The position tables belong to one input size; :func:`samplug.checkpoints.load_weights` resizes them on loading.

    Args:
        arch: ``'vit_b'``, ``'vit_l'``, ``'vit_h'``, or a dict with ``embed_dims``, ``depth``, ``num_heads``,
            ``global_attn_indexes`` and optionally ``window_size`` (14; 0 makes every block global), ``mlp_ratio`` (4)
            and ``patch_size`` (16).
        img_size: Side of the square input in pixels, a multiple of the patch size.
        out_channels: Channels of the neck's output.
        frozen: No gradients for any parameter; the encoder stays in eval mode, also after ``train()``.
            Models of samplug set it unless the config says ``frozen=False``.
        with_cp: Activation checkpointing of the blocks: less memory in training for about a third more time.
        attention: Form of the attention, one of ``auto``, ``biased``, ``folded`` (:mod:`.attention`); equal results.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='sam_vit_b_01ec64.pth')``.
    """

    neck_levels = 1

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "vit_b",
        img_size: int = 1024,
        out_channels: int = 256,
        frozen: bool = False,
        with_cp: bool = False,
        attention: str = "auto",
        init_cfg: InitCfg = None,
    ) -> None:
        super().__init__(img_size, frozen, with_cp, init_cfg)
        sizes = resolve_arch(arch)
        self.patch_size: int = sizes["patch_size"]
        self.embed_dims: int = sizes["embed_dims"]
        if img_size <= 0 or img_size % self.patch_size:
            raise ConfigError(
                f"SAMViT: img_size={img_size} must be a positive multiple of the patch size {self.patch_size}"
            )
        if attention not in ATTENTION_FORMS:
            raise ConfigError(f"SAMViT: attention={attention!r} is not one of {sorted(ATTENTION_FORMS)}")
        self.out_channels = out_channels

        grid = img_size // self.patch_size
        self.patch_embed = PatchEmbed(self.embed_dims, self.patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, self.embed_dims))
        self.blocks = nn.ModuleList(
            Block(
                dim=self.embed_dims,
                num_heads=sizes["num_heads"],
                mlp_ratio=sizes["mlp_ratio"],
                window_size=0 if index in sizes["global_attn_indexes"] else sizes["window_size"],
                grid=grid,
                attend=ATTENTION_FORMS[attention],
            )
            for index in range(sizes["depth"])
        )
        self.neck = nn.Sequential(
            nn.Conv2d(self.embed_dims, out_channels, kernel_size=1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )
        self.apply_frozen()

    def init_weights(self) -> None:
        """Load the file of ``init_cfg``; without one draw positions and projections from ViT's truncated normal."""
        if not self.init_cfg:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)
        super().init_weights()

    def adapt_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fit position tables made for another input size; :func:`samplug.checkpoints.load_weights` calls it.

        Absolute positions (1, g, g, C) are resized bicubically in both directions, relative tables (2g - 1, d) of
        global blocks linearly along their rows, as SAM does at run time. Tables of windows stay as they are.

        Args:
            state: Entries under this module's own names, of any shape.

        Returns:
            The same entries, with resized tables in place of those that did not fit.
        """
        fitted = dict(state)
        positions = state.get("pos_embed")
        if positions is not None and positions.ndim == 4 and positions.shape[-1] == self.embed_dims:
            grid = self.pos_embed.shape[1:3]
            if positions.shape[1:3] != grid:
                resized = F.interpolate(
                    positions.permute(0, 3, 1, 2).float(), size=grid, mode="bicubic", align_corners=False
                )
                fitted["pos_embed"] = resized.permute(0, 2, 3, 1).to(positions.dtype)
        for index, block in enumerate(self.blocks):
            if block.window_size:
                continue
            for axis in ("h", "w"):
                name = f"blocks.{index}.attn.rel_pos_{axis}"
                table, wanted = state.get(name), getattr(block.attn, f"rel_pos_{axis}").shape
                if (
                    table is not None
                    and table.ndim == 2
                    and table.shape[1] == wanted[1]
                    and table.shape[0] != wanted[0]
                ):
                    rows = F.interpolate(table.T[None].float(), size=wanted[0], mode="linear", align_corners=False)
                    fitted[name] = rows[0].T.to(table.dtype)
        return fitted

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        return len(self.blocks)

    def embed(self, images: Tensor) -> Tensor:
        return self.patch_embed(images) + self.pos_embed

    def run_block(self, index: int, tokens: Tensor) -> Tensor:
        return self.blocks[index](tokens)

    def forward(self, images: Tensor, tap: TokenTap | None = None) -> tuple[Tensor]:
        """Encode images.

        Args:
            images: (N, 3, img_size, img_size) float, RGB, normalised with ``mean`` and ``std``.
            tap: Hooks of an adapter into the token stream, see :class:`TokenTap`.

        Returns:
            One feature map (N, out_channels, g, g), g = img_size / patch_size, in a tuple as MMEngine backbones return.

        Raises:
            ConfigError: The input has another size than the encoder was built for.
        """
        self.check_input_size(*images.shape[-2:])
        if tap is None:
            tokens = self.embed(images)
        else:
            patches = self.patch_embed(images)
            tokens = tap.after_embed(images, patches, patches + self.pos_embed)
        last = self.depth - 1
        tokens = self._run_blocks(tokens, [last], tap)[last]
        features = self.neck(tokens.permute(0, 3, 1, 2))
        if tap is not None:
            features = tap.after_neck(features)
        return (features,)


def resolve_arch(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Look up a published architecture, or check a dict of sizes; fill in defaults.

    Raises:
        ConfigError: Unknown name, a missing or unknown size, or sizes that do not fit each other.
    """
    sizes = arch_sizes("SAMViT", arch, SAM_ARCHS, _ARCH_DEFAULTS)
    outside = [i for i in sizes["global_attn_indexes"] if not 0 <= i < sizes["depth"]]
    if outside:
        raise ConfigError(f"SAMViT: global_attn_indexes {outside} lie outside the {sizes['depth']} blocks")
    return sizes


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens: (N, 3, H, W) -> (N, H / p, W / p, dim)."""

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).permute(0, 2, 3, 1)


class Block(nn.Module):
    """Pre-norm transformer block on (N, g, g, dim) tokens, with windowed (``window_size`` > 0) or global attention."""

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float, window_size: int, grid: int, attend: AttentionFn
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, window_size or grid, attend)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = BlockMLP(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.norm1(x)
        if self.window_size:
            windows, padded = partition_windows(x, self.window_size)
            x = merge_windows(self.attn(windows), self.window_size, padded, (shortcut.shape[1], shortcut.shape[2]))
        else:
            x = self.attn(x)
        x = shortcut + x
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Multi-head self-attention over a (B, size, size, dim) map with decomposed relative positions."""

    def __init__(self, dim: int, num_heads: int, size: int, attend: AttentionFn) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attend = attend
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, dim // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, dim = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        rel_h, rel_w = relative_table(self.rel_pos_h, height), relative_table(self.rel_pos_w, width)
        x = self.attend(q, k, v, rel_h, rel_w)
        return self.proj(x.transpose(1, 2).reshape(batch, height, width, dim))


class BlockMLP(nn.Module):
    """Two linear layers with exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(F.gelu(self.lin1(x)))
