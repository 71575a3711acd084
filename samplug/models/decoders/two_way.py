"""The two-way transformer of SAM's and SAM 2's mask decoders."""

from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class ImageProjections(NamedTuple):
    """Projections of an image for one layer; those of the first layer depend on no prompt.

    Attributes:
        key: Keys of the attention from tokens to the image, (N, h * w, C / 2).
        value: Values of the same attention, (N, h * w, C / 2).
        query: Queries of the attention from the image to the tokens, (N, h * w, C / 2).
    """

    key: Tensor
    value: Tensor
    query: Tensor


class TwoWayTransformer(nn.Module):
    """Attention between tokens and an image in both directions (Kirillov et al., 2023), with transformers' layers.

    Args:
        original: ``SamTwoWayTransformer`` or ``Sam2TwoWayTransformer`` with official names, see
            :func:`rename_transformer`.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.layers = original.layers
        self.final_attn_token_to_image = original.final_attn_token_to_image
        self.norm_final_attn = original.norm_final_attn

    def forward(
        self, tokens: Tensor, image: Tensor, positions: Tensor, projections: ImageProjections | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run all layers.

        Args:
            tokens: (B, T, C).
            image: (B, C, h, w).
            positions: Position encoding of the image, (1, C, h, w).
            projections: Result of :meth:`project` for the one image that all B rows hold; None: computed here.

        Returns:
            Tokens (B, T, C), image (B, C, h, w).
        """
        size = image.shape[-2:]
        image, positions = _as_tokens(image), _as_tokens(positions)
        encoded = tokens
        for layer in self.layers:
            if projections is None:
                projections = _project(layer, image, image + positions)
            encoded, image = _run_layer(layer, encoded, tokens, image, projections)
            projections = None
        attention = self.final_attn_token_to_image
        encoded = encoded + _attend(attention, encoded + tokens, image + positions, image)
        return self.norm_final_attn(encoded), image.transpose(1, 2).unflatten(2, size)

    def project(self, image: Tensor, positions: Tensor) -> ImageProjections:
        """Compute the first layer's projections of an image (1, C, h, w) with its position encoding."""
        image, positions = _as_tokens(image), _as_tokens(positions)
        return _project(self.layers[0], image, image + positions)


def _as_tokens(image: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, h * w, C)."""
    return image.flatten(2).transpose(1, 2)


def _project(layer: Any, image: Tensor, placed: Tensor) -> ImageProjections:
    """Project an image (N, L, C) and the same with its position encoding."""
    to_image, to_tokens = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
    return ImageProjections(to_image.k_proj(placed), to_image.v_proj(image), to_tokens.q_proj(placed))


def _run_layer(
    layer: Any, tokens: Tensor, positions: Tensor, image: Tensor, projections: ImageProjections
) -> tuple[Tensor, Tensor]:
    """Run one layer on tokens (B, T, C), their positions and an image (B, L, C)."""
    if layer.skip_first_layer_pe:
        tokens = _attend(layer.self_attn, tokens, tokens, tokens)
    else:
        query = tokens + positions
        tokens = tokens + _attend(layer.self_attn, query, query, tokens)
    tokens = layer.norm1(tokens)
    to_image, to_tokens = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
    query = to_image.q_proj(tokens + positions)
    # Stored projections may have another precision than this call, and one row for all objects. shape[0], not len():
    # an export would make a constant of it.
    known = ImageProjections(*(value.to(query.dtype).expand(image.shape[0], -1, -1) for value in projections))
    tokens = layer.norm2(tokens + _attend_projected(to_image, query, known.key, known.value))
    tokens = layer.norm3(tokens + layer.mlp(tokens))
    key, value = to_tokens.k_proj(tokens + positions), to_tokens.v_proj(tokens)
    image = layer.norm4(image + _attend_projected(to_tokens, known.query, key, value))
    return tokens, image


def _attend(attention: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend over (B, tokens, C) with a module's projections."""
    return _attend_projected(attention, attention.q_proj(query), attention.k_proj(key), attention.v_proj(value))


def _attend_projected(attention: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    heads = attention.num_attention_heads
    query, key, value = (projected.unflatten(-1, (heads, -1)).transpose(1, 2) for projected in (query, key, value))
    attended = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    return attention.out_proj(attended.transpose(1, 2).flatten(2))
