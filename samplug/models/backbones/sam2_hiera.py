"""The image encoder of SAM 2 (Ravi et al., 2024): Hiera with transformers' layers, and the feature pyramid."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models.backbones.arch import arch_sizes
from samplug.models.backbones.base import Encoder, TokenTap
from samplug.models.backbones.windows import merge_windows, partition_windows
from samplug.models.base import InitCfg
from samplug.models.layers import MLP, rename
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

# Published sizes, the same in SAM 2 and 2.1: width and heads of the first stage, blocks of each stage, blocks with
# global attention.
SAM2_ARCHS: dict[str, dict[str, Any]] = {
    "hiera_t": dict(embed_dims=96, num_heads=1, stages=(1, 2, 7, 2), global_attn_blocks=(5, 7, 9)),
    "hiera_s": dict(embed_dims=96, num_heads=1, stages=(1, 2, 11, 2), global_attn_blocks=(7, 10, 13)),
    "hiera_b+": dict(
        embed_dims=112,
        num_heads=2,
        stages=(2, 3, 16, 3),
        global_attn_blocks=(12, 16, 20),
        window_pos_embed_bkg_spatial_size=(14, 14),
    ),
    "hiera_l": dict(
        embed_dims=144, num_heads=2, stages=(2, 6, 36, 4), global_attn_blocks=(23, 33, 43), window_spec=(8, 4, 16, 8)
    ),
}
_ARCH_DEFAULTS: dict[str, Any] = dict(window_pos_embed_bkg_spatial_size=(7, 7), window_spec=(8, 4, 14, 7))
_LEVELS = 4  # stages, at strides 4, 8, 16 and 32


@MODELS.register_module()
class SAM2Hiera(Encoder):
    """Image encoder of SAM 2 and 2.1 with the official parameter names, ``trunk.*`` and ``neck.*``.

    Stage i has ``2 ** i`` times the width and heads of the first. No table belongs to the input size: positions are
    interpolated at run time, as in the original.

    Args:
        arch: ``'hiera_t'``, ``'hiera_s'``, ``'hiera_b+'``, ``'hiera_l'``, or a dict with ``embed_dims`` and
            ``num_heads`` (of the first stage), ``stages`` (blocks in each of the four), ``global_attn_blocks`` and
            optionally ``window_spec`` (windows of the stages in tokens, (8, 4, 14, 7)) and
            ``window_pos_embed_bkg_spatial_size`` ((height, width) of the table of positions, (7, 7)).
        img_size: Side of the square input in pixels, a multiple of 32 and of four times the first window.
        out_channels: Channels of the pyramid's maps; :class:`SAM2MaskDecoder` reads 256.
        drop_path_rate: Probability with which an image skips a branch of the last block in training; it rises linearly
            from 0 at the first.
        frozen: No gradients for any parameter; the encoder stays in eval mode, also after ``train()``.
            Models of samplug set it unless the config says ``frozen=False``.
        with_cp: Activation checkpointing of the blocks: less memory in training for about a third more time.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='sam2.1_hiera_small.pt')``.

    Attributes:
        patch_size: 16, the stride of the last map.
        embed_dims: Width of the first stage.

    Raises:
        ConfigError: Unknown name, a missing or unknown size, or sizes that do not fit each other.
    """

    patch_size = 16
    neck_levels = _LEVELS - 1
    no_taps = (
        "their number and width change from stage to stage; use LoRAAdapter or no adapter, or a SAMViT as backbone"
    )

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "hiera_b+",
        img_size: int = 1024,
        out_channels: int = 256,
        drop_path_rate: float = 0.0,
        frozen: bool = False,
        with_cp: bool = False,
        init_cfg: InitCfg = None,
    ) -> None:
        super().__init__(img_size, frozen, with_cp, init_cfg)
        sizes = resolve_arch(arch)
        unit = math.lcm(32, 4 * sizes["window_spec"][0])
        if img_size <= 0 or img_size % unit:
            raise ConfigError(f"SAM2Hiera: img_size={img_size} must be a positive multiple of {unit}")
        if not 0 <= drop_path_rate < 1:
            raise ConfigError(f"SAM2Hiera: drop_path_rate={drop_path_rate} must lie in [0, 1)")
        self.embed_dims: int = sizes["embed_dims"]
        self.out_channels = out_channels
        self.drop_path_rate = drop_path_rate

        self.trunk = _trunk(sizes)
        self.neck = FeaturePyramid([self.embed_dims * 2**stage for stage in range(_LEVELS)], out_channels)
        self.apply_frozen()

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        return len(self.trunk.blocks)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return tuple(
            self.embed_dims * 2 ** sum(index > end for end in self.trunk.stage_ends) for index in range(self.depth)
        )

    def embed(self, images: Tensor) -> Tensor:
        tokens = self.trunk.patch_embed(images)
        return tokens + self._positions(*tokens.shape[1:3])

    def run_block(self, index: int, tokens: Tensor) -> Tensor:
        rate = self.drop_path_rate * index / max(self.depth - 1, 1) if self.training else 0.0
        return self.trunk.blocks[index](tokens, rate)

    def forward(self, images: Tensor, tap: TokenTap | None = None) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            images: (N, 3, img_size, img_size) float, RGB, normalised with ``mean`` and ``std``.
            tap: None; the tokens cannot be tapped.

        Returns:
            Three maps (N, out_channels, h, w), the finest first: h = w = S / 4, S / 8 and S / 16, S = img_size.

        Raises:
            ConfigError: The input has another size than the encoder was built for, or there is a tap.
        """
        self.check_input_size(*images.shape[-2:])
        if tap is not None:
            self.check_taps(type(tap).__name__)
        ends = self.trunk.stage_ends
        outputs = self._run_blocks(self.embed(images), ends)
        return self.neck([outputs[index].permute(0, 3, 1, 2) for index in ends])

    def _positions(self, height: int, width: int) -> Tensor:
        """Compute positions (1, height, width, embed_dims): the resized table, and the window's table repeated."""
        table, window = self.trunk.pos_embed, self.trunk.pos_embed_window
        repeats = (1, 1, height // window.shape[2], width // window.shape[3])
        positions = F.interpolate(table, size=(height, width), mode="bicubic") + window.tile(repeats)
        return positions.permute(0, 2, 3, 1)


class FeaturePyramid(nn.Module):
    """SAM 2's neck: project the maps of all stages to one width and add the coarsest to the one before it.

    Transformers' module has other parameter names and computes position encodings that only video needs.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(  # the coarsest first
            nn.ModuleDict(dict(conv=nn.Conv2d(channels, out_channels, kernel_size=1)))
            for channels in reversed(in_channels)
        )

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Project maps (N, C_i, H / 2 ** i, W / 2 ** i), the finest first; return all but the coarsest."""
        *finer, middle, coarsest = (
            convs.get_submodule("conv")(level) for convs, level in zip(reversed(self.convs), levels, strict=True)
        )
        # Nearest-neighbour resizing is exact in any precision.
        return (*finer, middle + F.interpolate(coarsest, scale_factor=2.0, mode="nearest"))


def resolve_arch(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Look up a published architecture, or check a dict of sizes; fill in defaults.

    Raises:
        ConfigError: Unknown name, a missing or unknown size, or sizes that do not fit each other.
    """
    sizes = arch_sizes("SAM2Hiera", arch, SAM2_ARCHS, _ARCH_DEFAULTS)
    for name in ("stages", "window_spec"):
        if len(sizes[name]) != _LEVELS or min(sizes[name]) < 1:
            raise ConfigError(f"SAM2Hiera: {name}={sizes[name]} must be {_LEVELS} positive numbers")
    starts = {sum(sizes["stages"][:stage]) for stage in range(1, _LEVELS)}
    misplaced = [i for i in sizes["global_attn_blocks"] if i in starts or not 0 <= i < sum(sizes["stages"])]
    if misplaced:
        raise ConfigError(
            f"SAM2Hiera: global_attn_blocks {misplaced} lie outside the {sum(sizes['stages'])} blocks, or begin a "
            f"stage: those blocks ({sorted(starts)}) pool within windows"
        )
    return sizes


class HieraBlock(nn.Module):
    """Block of transformers' Hiera under the official names, with stochastic depth.

    Args:
        block: Transformers' ``Sam2MultiScaleBlock``; its layers move here.
        mlp_ratio: Width of the MLP's hidden layer divided by that of the block.
    """

    def __init__(self, block: Any, mlp_ratio: float) -> None:
        super().__init__()
        self.window_size: int = block.window_size
        self.query_stride: tuple[int, int] | None = block.query_stride
        self.attn = block.attn
        self.mlp = MLP(block.dim_out, int(block.dim_out * mlp_ratio), block.dim_out, activation=F.gelu)
        self.proj = block.proj if block.dim != block.dim_out else None
        self.norm1 = block.layer_norm1
        self.norm2 = block.layer_norm2

    def forward(self, tokens: Tensor, drop_rate: float = 0.0) -> Tensor:
        """Run the block.

        Args:
            tokens: (N, H, W, C).
            drop_rate: Probability with which an image skips the attention, and again the MLP.

        Returns:
            (N, H, W, C); in the first block of a later stage (N, H / 2, W / 2, 2 C).
        """
        normed = self.norm1(tokens)
        shortcut = tokens if self.proj is None else self._pool(self.proj(normed))
        if self.window_size:
            windows, (height, width) = partition_windows(normed, self.window_size)
            out, stride = self.attn(windows), self.query_stride[0] if self.query_stride else 1
            # Queries are pooled within each window.
            window, padded = self.window_size // stride, (height // stride, width // stride)
            attended = merge_windows(out, window, padded, (shortcut.shape[1], shortcut.shape[2]))
        else:
            attended = self.attn(normed)
        tokens = shortcut + drop_branch(attended, drop_rate)
        return tokens + drop_branch(self.mlp(self.norm2(tokens)), drop_rate)

    def _pool(self, tokens: Tensor) -> Tensor:
        if self.query_stride is None:
            return tokens
        return F.max_pool2d(tokens.permute(0, 3, 1, 2), self.query_stride, self.query_stride).permute(0, 2, 3, 1)


def drop_branch(branch: Tensor, rate: float) -> Tensor:
    """Zero each image's branch (N, H, W, C) with probability ``rate``; scale the others by ``1 / (1 - rate)``."""
    if not rate:
        return branch
    kept = branch.new_empty(len(branch)).bernoulli_(1 - rate) / (1 - rate)
    return branch * kept[:, None, None, None]


def _trunk(sizes: Mapping[str, Any]) -> Any:
    # Imported here, so that models with other encoders start without transformers.
    from transformers import Sam2HieraDetConfig
    from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel

    widths = [sizes["embed_dims"] * 2**stage for stage in range(_LEVELS)]
    config = Sam2HieraDetConfig(
        hidden_size=widths[0],
        num_attention_heads=sizes["num_heads"],
        window_positional_embedding_background_size=list(sizes["window_pos_embed_bkg_spatial_size"]),
        blocks_per_stage=list(sizes["stages"]),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[sizes["num_heads"] * 2**stage for stage in range(_LEVELS)],
        window_size_per_stage=list(sizes["window_spec"]),
        global_attention_blocks=list(sizes["global_attn_blocks"]),
    )
    trunk: Any = Sam2HieraDetModel(config)
    rename(trunk.patch_embed, projection="proj")
    trunk.blocks = nn.ModuleList(HieraBlock(block, config.mlp_ratio) for block in trunk.blocks)
    return trunk
