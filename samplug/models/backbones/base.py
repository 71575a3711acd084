"""The contract of image encoders."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from samplug.features import FeatureStore
from samplug.models.base import InitCfg, SamplugModule
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from samplug.utils.text import gib


class TokenTap(Protocol):
    """Hooks of an adapter into one forward pass of an encoder: they read the token stream and may replace it.

    Tokens are (N, g, g, embed_dims), g = img_size / patch_size. The encoder continues with the tokens that a method
    returns: the same tensor leaves the stream as it is.
    """

    def after_embed(self, images: Tensor, patches: Tensor, tokens: Tensor) -> Tensor:
        """Read the patch embedding and the input of block 0, ``tokens``: ``patches`` with positions added."""

    def after_block(self, index: int, tokens: Tensor) -> Tensor:
        """Read the output of block ``index``; called for every block, in order."""

    def after_neck(self, features: Tensor) -> Tensor:
        """Read the encoder's output, (N, out_channels, g, g)."""


class BlockTokens(NamedTuple):
    """Output of one block.

    Attributes:
        patches: (N, C, h, w) float, the patch tokens as a map.
        class_token: (N, C) float; None: the encoder has no class token.
    """

    patches: Tensor
    class_token: Tensor | None


class Encoder(SamplugModule):
    """Base of the image encoders.

    Subclasses set the attributes below, implement :attr:`depth`, :meth:`embed`, :meth:`run_block` and :meth:`forward`,
    and call :meth:`apply_frozen` at the end of their constructor. Encoders with class tokens or a final norm also
    override :meth:`block_tokens`, encoders that accept several input sizes override :meth:`check_input_size`.

    Args:
        img_size: Side of the square input in pixels.
        frozen: No gradients for any parameter; the encoder stays in eval mode, also after ``train()``.
        with_cp: Activation checkpointing of the blocks: less memory in training for about a third more time.
        init_cfg: Passed to MMEngine's ``BaseModule``; ``Pretrained`` is strict.

    Attributes:
        mean, std: RGB statistics of the training images, in 0..255.
        interpolation: Interpolation with which the training images were resized.
        patch_size: Stride of the map in pixels, of the coarsest if there are several.
        embed_dims: Width of the tokens, of the first block if it changes.
        out_channels: Channels of each map that :meth:`forward` returns.
        has_final_norm: True if a norm follows the last block.
        has_class_token: True if :meth:`tokens` gives class tokens.
        neck_levels: Number of maps that the neck returns; 0: the encoder has no neck.
        projection_dims: Length of the vectors that :meth:`project` returns; None: the encoder has no projection.
        no_taps: Reason why no adapter can tap the tokens; None: ``forward`` accepts a :class:`TokenTap`.
    """

    checkpoint_part = "backbone"
    # Statistics of ImageNet.
    mean: Sequence[float] = (123.675, 116.28, 103.53)
    std: Sequence[float] = (58.395, 57.12, 57.375)
    interpolation: str = "bilinear"
    patch_size: int
    embed_dims: int
    out_channels: int
    has_final_norm: bool = False
    has_class_token: bool = False
    neck_levels: int = 0
    projection_dims: int | None = None
    no_taps: ClassVar[str | None] = None

    def __init__(self, img_size: int, frozen: bool = False, with_cp: bool = False, init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        self.img_size = img_size
        self.frozen = frozen
        self.with_cp = with_cp

    @property
    def store(self) -> FeatureStore | None:
        """Maps of this encoder on disk; None: they are not kept."""
        return None

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        raise NotImplementedError

    @property
    def block_dims(self) -> tuple[int, ...]:
        """Width of the tokens after each block; encoders whose width changes override it."""
        return (self.embed_dims,) * self.depth

    def embed(self, images: Tensor) -> Tensor:
        """Compute the input of block 0 from images (N, 3, H, W)."""
        raise NotImplementedError

    def run_block(self, index: int, tokens: Tensor) -> Tensor:
        """Run block ``index``."""
        raise NotImplementedError

    def forward(self, images: Tensor, tap: TokenTap | None = None) -> tuple[Tensor, ...]:
        """Compute the maps that decoders read.

        Args:
            images: (N, 3, H, W) float, RGB, normalised with ``mean`` and ``std``.
            tap: Hooks of an adapter into the token stream.

        Returns:
            Maps (N, out_channels, h, w), the finest first; the last one has h = H / patch_size.

        Raises:
            ConfigError: The encoder does not accept this input size, or taps.
        """
        raise NotImplementedError

    def stored_or_computed(
        self, images: Tensor, data_samples: Sequence[Any] | None = None, tap: TokenTap | None = None
    ) -> tuple[Tensor, ...]:
        """Return the maps of the samples' images as :meth:`forward` does.

        Encoders with a :attr:`store` read them from disk.

        Args:
            images: As for :meth:`forward`.
            data_samples: N samples of the images; None: the maps are computed.
            tap: As for :meth:`forward`.
        """
        return self(images, tap=tap)

    def tokens(
        self, images: Tensor, blocks: Sequence[int] = (-1,), norm: bool | None = None
    ) -> tuple[BlockTokens, ...]:
        """Compute the outputs of chosen blocks; blocks after the last chosen one are not run.

        Args:
            images: As for :meth:`forward`.
            blocks: Indexes of blocks; negative ones count from the last block.
            norm: Apply the encoder's final norm to each output. None: if the encoder has one.

        Returns:
            The outputs in the order of ``blocks``.

        Raises:
            ConfigError: An index is outside the encoder, ``norm=True`` without a final norm, or a wrong input size.
        """
        self.check_input_size(*images.shape[-2:])
        if norm and not self.has_final_norm:
            raise ConfigError(f"{type(self).__name__} has no norm after its last block: leave norm=True out")
        outside = [index for index in blocks if not -self.depth <= index < self.depth]
        if outside:
            raise ConfigError(f"{type(self).__name__}: blocks {outside} lie outside the {self.depth} blocks")
        chosen = [index % self.depth for index in blocks]
        outputs = self._run_blocks(self.embed(images), chosen)
        size = images.shape[-2] // self.patch_size, images.shape[-1] // self.patch_size
        norm = self.has_final_norm if norm is None else norm
        return tuple(self.block_tokens(outputs[index], size, norm) for index in chosen)

    def block_tokens(self, tokens: Tensor, size: tuple[int, int], norm: bool) -> BlockTokens:
        """Split the output of a block into patch map and class token.

        This method is for tokens (N, h, w, C) without a class token and a final norm.

        Args:
            tokens: Output of a block.
            size: Height and width of the input in patches.
            norm: Apply the final norm first.
        """
        return BlockTokens(tokens.permute(0, 3, 1, 2), None)

    def project(self, class_token: Tensor) -> Tensor:
        """Map class tokens (N, C) of the last block, after the final norm, to the space shared with another encoder.

        Returns:
            (N, projection_dims), not normalised.

        Raises:
            ConfigError: The encoder has no projection.
        """
        raise ConfigError(f"{type(self).__name__} has no projection")

    def check_input_size(self, height: int, width: int) -> None:
        """Raise a ConfigError unless the encoder accepts this input size in pixels; by default ``img_size`` alone."""
        if (height, width) != (self.img_size, self.img_size):
            raise ConfigError(
                f"{type(self).__name__} was built for {self.img_size}x{self.img_size} inputs and got {height}x{width}: "
                "resize the images to img_size, or build the encoder with another img_size (the same weights can be "
                "loaded)"
            )

    def check_taps(self, adapter: str) -> None:
        """Raise a ConfigError if the tokens cannot be tapped.

        Args:
            adapter: Name of the adapter, for the message.
        """
        if self.no_taps is not None:
            raise ConfigError(
                f"{adapter} reads the tokens of each block, which {type(self).__name__} does not offer: {self.no_taps}"
            )

    def preprocessor(self) -> dict[str, Any]:
        """Return the config of the preprocessor for BGR images in 0..255 of sizes up to the encoder's input."""
        return dict(
            type="samplug.LetterboxPreProcessor",
            mean=self.mean,
            std=self.std,
            bgr_to_rgb=True,
            size=(self.img_size, self.img_size),
        )

    def memory_advice(self, cfg: Mapping[str, Any], activations: int) -> list[str]:
        """Return settings that lower the memory of training, see :func:`samplug.engine.run_errors.memory_advice`."""
        lines = []
        if not self.with_cp:
            lines.append(
                f"model.backbone.with_cp=True: the encoder keeps the inputs of its {self.depth} blocks and computes "
                "the rest again in the backward pass (about a third more time)"
            )
        if self.img_size % 32 == 0 and self.img_size > 256:
            lines.append(f"img_size={self.img_size // 2}: about {gib(activations * 3 / 4)} less, scores change")
        return lines

    def train(self, mode: bool = True) -> "Encoder":
        return super().train(mode and not self.frozen)

    def apply_frozen(self) -> None:
        """Freeze the parameters if ``frozen`` is set; subclasses call it when all of them are registered."""
        if self.frozen:
            self.requires_grad_(False)
            self.eval()

    def _run_blocks(self, tokens: Tensor, blocks: Collection[int], tap: TokenTap | None = None) -> dict[int, Tensor]:
        """Run the blocks up to the last of ``blocks``; return the outputs of ``blocks`` by index."""
        outputs: dict[int, Tensor] = {}
        for index in range(max(blocks, default=-1) + 1):
            if self.with_cp and torch.is_grad_enabled() and (tokens.requires_grad or not self.frozen):
                tokens = checkpoint(self.run_block, index, tokens, use_reentrant=False)
            else:
                tokens = self.run_block(index, tokens)
            if tap is not None:
                tokens = tap.after_block(index, tokens)
            if index in blocks:
                outputs[index] = tokens
        return outputs


def build_encoder(cfg: Mapping[str, Any]) -> Encoder:
    """Build the encoder of a model; it is frozen unless its config says ``frozen=False``."""
    return MODELS.build({"frozen": True, **cfg})
