"""What the mask decoders of SAM and SAM 2 have in common."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from samplug.models.base import SamplugModule
from samplug.models.decoders.two_way import Memory, TwoWayTransformer
from samplug.models.layers import move_out, rename
from samplug.utils.errors import ConfigError


class Masks(NamedTuple):
    """What a mask decoder says of P objects in each of N images, M masks for each.

    Attributes:
        logits: (N, P, M, 4g, 4g).
        iou: Predicted IoU (N, P, M).
        object_score: Logit of "there is an object" (N, P, 1); None: the decoder has no such output.
    """

    logits: Tensor
    iou: Tensor
    object_score: Tensor | None


class PromptedMaskDecoder(SamplugModule):
    """Base of the mask decoders: a prompt encoder, positions, and the decoder as a ``decode_head`` without prompts.

    Subclasses register a prompt encoder of transformers as ``prompts_name``, with a :class:`PositionEncoding` as its ``pe_layer``, its mask
    decoder as ``decoder_name``, with a :class:`TwoWayTransformer`, and have ``decode(features)``, which returns :class:`Masks`.

    Args:
        num_classes: 1; the masks are of one object.
        threshold: Probability above which a pixel is foreground.
        init_cfg: Passed to MMEngine's ``BaseModule``.

    Raises:
        ConfigError: ``num_classes`` is not 1.
    """

    checkpoint_part = "decode_head"
    prompts_name: ClassVar[str]
    decoder_name: ClassVar[str]
    decode: Any
    has_object_score: ClassVar[bool] = False

    def __init__(
        self, num_classes: int, threshold: float, init_cfg: dict[str, Any] | list[dict[str, Any]] | None
    ) -> None:
        super().__init__(init_cfg)
        if num_classes != 1:
            raise ConfigError(
                f"{type(self).__name__}: num_classes={num_classes}, but SAM's decoder tells one object from the rest: use num_classes=1, "
                f"or another decode_head"
            )
        self.num_classes = num_classes
        self.threshold = threshold

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode without prompts.

        Args:
            features: The encoder's.

        Returns:
            Logits (N, 1, 4g, 4g).
        """
        return self.decode(self.image_features(features)).logits[:, 0]

    def image_features(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What :meth:`decode` takes of an image, once for all of its prompts: the encoder's maps."""
        return tuple(features)

    def embed_prompts(
        self,
        img_size: int,
        grid: int,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor]:
        """Prompts of P objects in each of N images; any of them may be absent, points need labels.

        Args:
            img_size: Side S of the network's input in pixels.
            grid: Side g of the encoder's (coarsest) map.
            points: (N, P, K, 2) float, (x, y) in pixels of the input.
            labels: (N, P, K): 1 = on the object, 0 = not on it, -1 = no point (padding).
            boxes: (N, P, 4) float, (x0, y0, x1, y1) in pixels of the input.
            masks: (N, 1, 4g, 4g) logits, one mask for an image: with several objects give each one its own copy of the features.

        Returns:
            Sparse embeddings (N, P, tokens, 256), None without points and boxes, and dense ones (N or 1, 256, g, g).
        """
        encoder = getattr(self, self.prompts_name)
        # Transformers keeps the sizes with the module; here they belong to the call.
        encoder.input_image_size = img_size
        encoder.image_embedding_size = (grid, grid)
        return encoder(points, labels, boxes, masks)

    @contextmanager
    def remembering(self, memory: Memory | None) -> Iterator[None]:
        """Decode without repeating what depends on the image alone.

        Args:
            memory: Of one image, for objects without a mask prompt and by these weights; empty at first. None: nothing is remembered.
        """
        self._transformer.memory = memory
        try:
            yield
        finally:
            self._transformer.memory = None

    @property
    def _transformer(self) -> TwoWayTransformer:
        return getattr(self, self.decoder_name).transformer

    def image_positions(self, height: int, width: int) -> Tensor:
        """Encoded centres of the cells of a map, (1, 256, height, width) float32."""
        memory = self._transformer.memory
        if memory is None:
            return self._image_positions(height, width)
        if "positions" not in memory:
            memory["positions"] = self._image_positions(height, width)
        return memory["positions"]

    def _image_positions(self, height: int, width: int) -> Tensor:
        encoding = getattr(self, self.prompts_name).pe_layer
        device = encoding.positional_encoding_gaussian_matrix.device
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        return encoding(torch.stack([x, y], dim=-1) + 0.5, (height, width)).permute(2, 0, 1)[None]


class PositionEncoding(nn.Module):
    """Random Fourier features of places, with a matrix that is stored and never trained."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))

    def forward(self, points: Tensor, shape: tuple[int, int]) -> Tensor:
        """(..., 2) of (x, y) in a frame of (height, width) -> (..., dim) float32."""
        height, width = shape
        with torch.autocast(points.device.type, enabled=False):  # half precision would move places by pixels
            unit = points.float() / points.new_tensor([width, height], dtype=torch.float32)
            angles = 2 * math.pi * ((2 * unit - 1) @ self.positional_encoding_gaussian_matrix.float())
            return torch.cat([angles.sin(), angles.cos()], dim=-1)


def mask_downscaling(embedding: Any) -> nn.Sequential:
    """Transformers' mask embedding as the sequence that it is in the official models."""
    first, second = embedding.layer_norm1, embedding.layer_norm2
    return nn.Sequential(embedding.conv1, first, nn.GELU(), embedding.conv2, second, nn.GELU(), embedding.conv3)


def rename_transformer(transformer: Any) -> None:
    """The official names of the norms in transformers' two-way transformer."""
    rename(transformer, layer_norm_final_attn="norm_final_attn")
    for layer in transformer.layers:
        rename(layer, **{f"layer_norm{index}": f"norm{index}" for index in (1, 2, 3, 4)})


def output_upscaling(decoder: Any) -> nn.Sequential:
    """Transformers' layers that upscale the image, as the sequence that they are in the official models."""
    return nn.Sequential(
        move_out(decoder, "upscale_conv1"),
        move_out(decoder, "upscale_layer_norm"),
        nn.GELU(),
        move_out(decoder, "upscale_conv2"),
        nn.GELU(),
    )
