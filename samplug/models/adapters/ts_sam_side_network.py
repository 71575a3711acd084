"""TS-SAM's side network (Yu et al., 2024, arXiv 2408.01835): trained layers beside the frozen encoder of SAM."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from samplug.models.adapters.base import Adapter, AdapterTap
from samplug.models.adapters.high_pass import HighPassEmbed
from samplug.models.backbones.base import Encoder
from samplug.models.base import InitCfg
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

# Fixed by the published method: channels of the refinement maps and of the last side stream.
MRM_CHANNELS = 128
OUT_CHANNELS = 256
_PUBLISHED_MRM_BLOCKS = 12


@MODELS.register_module()
class TSSAMSideNetwork(Adapter):
    """Side stream of convolutional side adapters (CSA) and refinement maps (MRM) over a SAM encoder.

    Use :meth:`tap` for each forward pass of the encoder::

        side = adapter.tap()
        backbone(images, tap=side)
        f1, f2, f3 = side.features

    Args:
        side_channels: Width of the side stream (256 for ViT-B, L and H).
        csa_blocks: Blocks after which a CSA fuses side stream and tokens. None: after every block, as published.
        mrm_blocks: Blocks whose output refines the high-resolution maps. None: the last twelve, as published.
        use_fft: Add the embedded high-pass image to the side stream (published for shadow detection).
        feedback: True, the released code: each fused stream replaces the tokens, so gradients pass through the frozen
            blocks. False, a true side network: tokens are only read, the encoder needs no gradients and keeps no
            activations.
        spatial_embedding: False, the released code: the first embedding reads the memory of tokens (g, g, D) as a map
            (D, g, g), which mixes positions and channels (published weights depend on it). True: it reads the token of
            each position.
        init_cfg: Passed to MMEngine's ``BaseModule``.
    """

    def __init__(
        self,
        side_channels: int = 256,
        csa_blocks: Sequence[int] | None = None,
        mrm_blocks: Sequence[int] | None = None,
        use_fft: bool = False,
        feedback: bool = True,
        spatial_embedding: bool = False,
        init_cfg: InitCfg = None,
    ) -> None:
        super().__init__(init_cfg)
        self.side_channels = side_channels
        self.csa_indexes = csa_blocks
        self.mrm_indexes = mrm_blocks
        self.use_fft = use_fft
        self.feedback = feedback
        self.spatial_embedding = spatial_embedding

    def attach(self, encoder: Encoder) -> None:
        """Build the layers for an encoder.

        Raises:
            ConfigError: The tokens cannot be tapped, ``csa_blocks`` or ``mrm_blocks`` do not fit, or ``feedback=False``
                with an encoder that is not frozen.
        """
        encoder.check_taps("TSSAMSideNetwork")
        if not self.feedback and not encoder.frozen:
            raise ConfigError(
                "TSSAMSideNetwork: feedback=False only reads the encoder, which would never be trained: set "
                "frozen=True in the backbone (or leave it out), or feedback=True in the adapter"
            )
        self.encoder_frozen = encoder.frozen
        depth, embed_dims, width = encoder.depth, encoder.embed_dims, self.side_channels
        csa = range(depth) if self.csa_indexes is None else self.csa_indexes
        mrm = range(max(0, depth - _PUBLISHED_MRM_BLOCKS), depth) if self.mrm_indexes is None else self.mrm_indexes
        self.csa_of_block = _positions("csa_blocks", csa, depth)
        self.mrm_of_block = _positions("mrm_blocks", mrm, depth)

        self.csa_embedding = nn.Linear(embed_dims, width)
        self.fft_embedding = HighPassEmbed(width, encoder.patch_size) if self.use_fft else None
        self.csa_blocks = nn.ModuleList(CSABlock(embed_dims, width, width) for _ in range(1 + len(self.csa_of_block)))
        self.csa_blocks.append(CSABlock(encoder.out_channels, width, OUT_CHANNELS))
        self.mrm_blocks = nn.ModuleList(MRMBlock(embed_dims) for _ in self.mrm_of_block)
        self.mrm_blocks.append(MRMBlock(encoder.out_channels))
        _init_conv_and_gates(self.csa_blocks)
        _init_conv_and_gates(self.mrm_blocks)

    def memory_advice(self, cfg: Mapping[str, Any], activations: int) -> list[str]:
        """Settings that lower the memory of training, see :func:`samplug.engine.run_errors.memory_advice`."""
        if not (self.feedback and self.encoder_frozen):
            return []
        return [
            "model.adapter.feedback=False: a true side network; the frozen encoder keeps no activations (another "
            "method: scores change)"
        ]

    def tap(self) -> "SidePass":
        """Return hooks for one forward pass of the encoder."""
        return SidePass(self)


class SidePass(AdapterTap):
    """Hooks of the side network into one forward pass.

    Attributes:
        features: (N, 128, 4g, 4g), (N, 128, 2g, 2g), (N, 256, g, g); set when the encoder's forward pass is over.
    """

    features: tuple[Tensor, Tensor, Tensor]

    def __init__(self, network: TSSAMSideNetwork) -> None:
        self.network = network
        self.side: Tensor
        self.maps: tuple[Tensor, Tensor] | None = None

    def _read(self, tokens: Tensor) -> Tensor:
        """Arrange tokens (N, g, g, C) as a map (N, C, g, g)."""
        return (tokens if self.network.feedback else tokens.detach()).permute(0, 3, 1, 2)

    def after_embed(self, images: Tensor, patches: Tensor, tokens: Tensor) -> Tensor:
        net = self.network
        patches = patches if net.feedback else patches.detach()
        if not net.spatial_embedding:
            batch, height, width, dim = patches.shape
            patches = patches.reshape(batch, dim, height, width).permute(0, 2, 3, 1)
        self.side = net.csa_embedding(patches).permute(0, 3, 1, 2)
        if net.fft_embedding is not None:
            self.side = self.side + net.fft_embedding(images)
        # The released code discards the fused stream here: the first CSA changes the side stream only.
        self.side, _ = net.csa_blocks[0](self._read(tokens), self.side)
        return tokens

    def after_block(self, index: int, tokens: Tensor) -> Tensor:
        net = self.network
        if index in net.mrm_of_block:
            self.maps = net.mrm_blocks[net.mrm_of_block[index]](self._read(tokens), self.maps)
        if index in net.csa_of_block:
            self.side, fused = net.csa_blocks[1 + net.csa_of_block[index]](self._read(tokens), self.side)
            if net.feedback:
                return fused.permute(0, 2, 3, 1)
        return tokens

    def after_neck(self, features: Tensor) -> Tensor:
        net = self.network
        source = features if net.feedback else features.detach()
        x4, x2 = net.mrm_blocks[-1](source, self.maps)
        last, _ = net.csa_blocks[-1](source, self.side)
        self.features = (x4, x2, last)
        return features


class CSABlock(nn.Module):
    """Fuse a side map with the token map and derive the next side map; 1x1 convolutions only."""

    def __init__(self, stream_channels: int, side_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(side_channels, stream_channels, kernel_size=1)
        self.bn1 = nn.BatchNorm2d(stream_channels)
        self.conv2 = nn.Conv2d(stream_channels, out_channels, kernel_size=1)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse two maps.

        Args:
            x: Token map (N, stream, g, g).
            side: Side map (N, side, g, g).

        Returns:
            Next side map (N, out, g, g) and fused stream (N, stream, g, g).
        """
        fused = x + torch.relu(self.bn1(self.conv1(side)))
        return torch.relu(self.bn2(self.conv2(fused))), fused


class Gate(nn.Module):
    """Scale every position's vector by a signed gate of itself: z * tanh(W2 relu(W1 z))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res_gate = nn.Sequential(
            nn.Linear(channels, channels, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels, bias=False),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        z = x.permute(0, 2, 3, 1)
        return (z * self.res_gate(z)).permute(0, 3, 1, 2)


class MRMBlock(nn.Module):
    """Maps at four and two times the token resolution, added to those of the blocks before."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        width = MRM_CHANNELS
        self.conv_in = nn.Sequential(
            nn.Conv2d(in_channels, width, kernel_size=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.fpn1 = nn.Sequential(*_double(width), *_double(width), Gate(width))
        self.fpn2 = nn.Sequential(*_double(width), Gate(width))

    def forward(self, x: Tensor, previous: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Compute maps (N, 128, 4g, 4g) and (N, 128, 2g, 2g) of (N, in, g, g) and add ``previous``."""
        x = self.conv_in(x)
        x4, x2 = self.fpn1(x), self.fpn2(x)
        if previous is not None:
            x4, x2 = previous[0] + x4, previous[1] + x2
        return x4, x2


def _double(channels: int) -> tuple[nn.Module, ...]:
    upsample = nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
    return upsample, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)


def _positions(name: str, blocks: Sequence[int], depth: int) -> dict[int, int]:
    """Map each encoder block to its position in the list of side modules.

    Raises:
        ConfigError: An index is outside the encoder, or occurs twice.
    """
    order = sorted(set(blocks))
    if len(order) != len(blocks) or any(not 0 <= index < depth for index in order):
        raise ConfigError(
            f"TSSAMSideNetwork: {name}={list(blocks)} must be different indexes of the encoder's {depth} blocks"
        )
    return {block: place for place, block in enumerate(order)}


def _init_conv_and_gates(modules: nn.Module) -> None:
    """Initialise as the released code: convolutions by He's fan-out rule, gates so that maps begin near zero."""
    for module in modules.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02, a=-2.0, b=2.0)
