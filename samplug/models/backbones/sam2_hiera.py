"""The image encoder of SAM 2 (Ravi et al., 2024): transformers' Hiera blocks under the official names, and the feature pyramid."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from samplug.models.backbones.arch import arch_sizes
from samplug.models.backbones.memory import encoder_advice
from samplug.models.backbones.sam_vit import TokenTap
from samplug.models.base import SamplugModule
from samplug.models.layers import MLP, rename
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

# Published sizes, the same in SAM 2 and 2.1: width and heads of the first stage, blocks of each stage, blocks with global attention.
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
class SAM2Hiera(SamplugModule):
    """Image encoder of SAM 2 and 2.1 with the official parameter names, ``trunk.*`` and ``neck.*``.

    Stage i has ``2 ** i`` times the first one's width and heads. No table belongs to the input size: positions are interpolated at run
    time, as in the original.

    Args:
        arch: ``'hiera_t'``, ``'hiera_s'``, ``'hiera_b+'``, ``'hiera_l'``, or a dict with ``embed_dims`` and ``num_heads`` (of the first
            stage), ``stages`` (blocks in each of the four), ``global_attn_blocks`` and optionally ``window_spec`` (windows of the stages
            in tokens, (8, 4, 14, 7)) and ``window_pos_embed_bkg_spatial_size`` ((height, width) of the table of positions, (7, 7)).
        img_size: Side of the square input in pixels, a multiple of 32 and of four times the first window.
        out_channels: Channels of the pyramid's maps; :class:`SAM2MaskDecoder` reads 256.
        drop_path_rate: Probability with which an image skips a branch of the last block in training; it rises linearly from 0 at the first.
        frozen: No gradients for any parameter, and eval mode whatever ``train()`` says.
        with_cp: Activation checkpointing of the blocks: less memory in training for about a third more time.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='sam2.1_hiera_small.pt')``.

    Attributes:
        patch_size: 16, the stride of the last map.
        embed_dims: Width of the first stage.

    Raises:
        ConfigError: Unknown name, a missing or unknown size, or sizes that do not fit each other.
    """

    checkpoint_part = "backbone"
    # RGB statistics of inputs in 0..255 (ImageNet's).
    mean = (123.675, 116.28, 103.53)
    std = (58.395, 57.12, 57.375)
    patch_size = 16

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "hiera_b+",
        img_size: int = 1024,
        out_channels: int = 256,
        drop_path_rate: float = 0.0,
        frozen: bool = False,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        sizes = resolve_arch(arch)
        unit = math.lcm(32, 4 * sizes["window_spec"][0])
        if img_size <= 0 or img_size % unit:
            raise ConfigError(f"SAM2Hiera: img_size={img_size} must be a positive multiple of {unit}")
        if not 0 <= drop_path_rate < 1:
            raise ConfigError(f"SAM2Hiera: drop_path_rate={drop_path_rate} must lie in [0, 1)")
        self.img_size = img_size
        self.embed_dims: int = sizes["embed_dims"]
        self.out_channels = out_channels
        self.frozen = frozen
        self.with_cp = with_cp

        self.trunk = _trunk(sizes, drop_path_rate)
        self.neck = FeaturePyramid([self.embed_dims * 2**stage for stage in range(_LEVELS)], out_channels)
        if frozen:
            self.requires_grad_(False)
            self.eval()

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        return len(self.trunk.blocks)

    def memory_advice(self, cfg: Mapping[str, Any], activations: int) -> list[str]:
        """Settings that lower the memory of training, see :func:`samplug.engine.run_errors.memory_advice`."""
        return encoder_advice(self, activations)

    def train(self, mode: bool = True) -> "SAM2Hiera":
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor, tap: TokenTap | None = None) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            images: (N, 3, img_size, img_size) float, RGB, normalised with ``mean`` and ``std``.
            tap: None; the argument is that of :meth:`SAMViT.forward`.

        Returns:
            Three maps, the finest first: (N, out_channels, S / 4, S / 4), (N, out_channels, S / 8, S / 8) and
            (N, out_channels, S / 16, S / 16), S = img_size.

        Raises:
            ConfigError: The input has another size than the encoder was built for, or an adapter wants to tap its tokens.
        """
        if tap is not None:
            raise ConfigError(
                "SAM2Hiera: the tokens change their number and width from stage to stage, this adapter reads those of a SAMViT: use "
                "LoRAAdapter or no adapter, or a SAMViT"
            )
        if images.shape[-2:] != (self.img_size, self.img_size):
            height, width = images.shape[-2:]
            raise ConfigError(
                f"SAM2Hiera was built for {self.img_size}x{self.img_size} inputs and got {height}x{width}: resize the images to "
                f"img_size, or build the encoder with another img_size (its weights fit any)"
            )
        tokens = self.trunk.patch_embed(images)
        tokens = tokens + self._positions(*tokens.shape[1:3])
        levels = []
        for index, block in enumerate(self.trunk.blocks):
            if self.with_cp and torch.is_grad_enabled() and (tokens.requires_grad or not self.frozen):
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
            if index in self.trunk.stage_ends:
                levels.append(tokens.permute(0, 3, 1, 2))
        return self.neck(levels)

    def _positions(self, height: int, width: int) -> Tensor:
        """The table stretched over the map, and that of a window repeated over it: (1, height, width, embed_dims)."""
        table, window = self.trunk.pos_embed, self.trunk.pos_embed_window
        repeats = (1, 1, height // window.shape[2], width // window.shape[3])
        positions = F.interpolate(table, size=(height, width), mode="bicubic") + window.tile(repeats)
        return positions.permute(0, 2, 3, 1)


class FeaturePyramid(nn.Module):
    """SAM 2's neck: the maps of all stages to one width, the two coarsest added up, the coarsest then left out.

    Transformers' has other parameter names, and computes position encodings that only video needs.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(  # the coarsest first
            nn.ModuleDict(dict(conv=nn.Conv2d(channels, out_channels, kernel_size=1)))
            for channels in reversed(in_channels)
        )

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (N, C_i, H / 2 ** i, W / 2 ** i), the finest first -> the same but the last, of ``out_channels``."""
        *finer, middle, coarsest = (
            convs.get_submodule("conv")(level) for convs, level in zip(reversed(self.convs), levels, strict=True)
        )
        # Nearest neighbours are exact in any precision.
        return (*finer, middle + F.interpolate(coarsest, scale_factor=2.0, mode="nearest"))


def resolve_arch(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of a published architecture or of a dict of sizes, with defaults filled in.

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
            f"SAM2Hiera: global_attn_blocks {misplaced} lie outside the {sum(sizes['stages'])} blocks, or begin a stage: those blocks "
            f"({sorted(starts)}) pool within windows"
        )
    return sizes


def _trunk(sizes: Mapping[str, Any], drop_path_rate: float) -> Any:
    # Here, not at the top: models with other encoders start without transformers.
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
    for index, block in enumerate(trunk.blocks):
        rename(block, layer_norm1="norm1", layer_norm2="norm2")
        width = block.dim_out
        block.mlp = MLP(width, int(width * config.mlp_ratio), width, activation=F.gelu)
        if rate := drop_path_rate * index / max(len(trunk.blocks) - 1, 1):
            block.register_forward_pre_hook(_note_images)
            for branch in (block.attn, block.mlp):
                branch.register_forward_hook(partial(_drop_branch, rate))
    return trunk


# Stochastic depth as hooks, as transformers' blocks have none; they hold no module, so that copies of a model are independent.
def _note_images(block: Any, args: tuple[Tensor, ...]) -> None:
    block.attn.images = block.mlp.images = len(args[0])


def _drop_branch(rate: float, branch: Any, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
    """An image's whole branch is dropped, that is all of its windows, where ``out`` has (windows of all images, h, w, C)."""
    if not branch.training:
        return out
    kept = out.new_empty(branch.images).bernoulli_(1 - rate) / (1 - rate)
    return out * kept.repeat_interleave(len(out) // branch.images)[:, None, None, None]
