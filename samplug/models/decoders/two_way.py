"""The two-way transformer of SAM's and SAM 2's mask decoders, which can remember what it made of an image."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

Memory = dict[str, Tensor]


class TwoWayTransformer(nn.Module):
    """Tokens and an image attend to each other (Kirillov et al., 2023): the layers of transformers' module, run without repeated work.

    Of the first layer, keys, values and queries of the image depend on no prompt: ``memory`` keeps them from one click to the next.

    Args:
        original: ``SamTwoWayTransformer`` or ``Sam2TwoWayTransformer`` with official names, see :func:`rename_transformer`.

    Attributes:
        memory: What was made of one image, for objects without a mask prompt and by these weights; empty at first. None: nothing is remembered.
            Set by :meth:`PromptedMaskDecoder.remembering`.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.layers = original.layers
        self.final_attn_token_to_image = original.final_attn_token_to_image
        self.norm_final_attn = original.norm_final_attn
        self.memory: Memory | None = None

    def forward(
        self, point_embeddings: Tensor, image_embeddings: Tensor, image_positional_embeddings: Tensor, **_: None
    ) -> tuple[Tensor, Tensor]:
        """As transformers' module, whose arguments these are.

        Args:
            point_embeddings: Tokens (N, P, T, C).
            image_embeddings: (N * P, C, h, w).
            image_positional_embeddings: (N * P, C, h, w).

        Returns:
            Tokens (N, P, T, C), image (N * P, 1, h * w, C).
        """
        places = point_embeddings.flatten(0, 1)
        image, image_places = (
            value.flatten(2).transpose(1, 2) for value in (image_embeddings, image_positional_embeddings)
        )
        tokens = places
        known = self._of_image(image, image_places)
        placed = known["placed"]
        for index, layer in enumerate(self.layers):
            if index:
                placed = image + image_places
                known = {}
            tokens, image = _layer(layer, tokens, places, image, placed, known)
        tokens = tokens + _attend(self.final_attn_token_to_image, tokens + places, image + image_places, image)
        return self.norm_final_attn(tokens).unflatten(0, point_embeddings.shape[:2]), image[:, None]

    def _of_image(self, image: Tensor, places: Tensor) -> Memory:
        """What the first layer makes of an image, one for each row of ``image``."""
        if self.memory is None:
            return self._first_layer(image, places)
        if "placed" not in self.memory:
            self.memory.update(self._first_layer(image[:1], places[:1]))
        return {name: self.memory[name].expand(len(image), -1, -1) for name in ("placed", "key", "value", "query")}

    def _first_layer(self, image: Tensor, places: Tensor) -> Memory:
        placed = image + places
        to_image, to_tokens = self.layers[0].cross_attn_token_to_image, self.layers[0].cross_attn_image_to_token
        return dict(
            placed=placed, key=to_image.k_proj(placed), value=to_image.v_proj(image), query=to_tokens.q_proj(placed)
        )


def _layer(
    layer: Any, tokens: Tensor, places: Tensor, image: Tensor, placed: Tensor, known: Memory
) -> tuple[Tensor, Tensor]:
    """One block: tokens (B, T, C), image (B, L, C), each also with its places; ``known`` are projections that were made already."""
    if layer.skip_first_layer_pe:
        tokens = _attend(layer.self_attn, tokens, tokens, tokens)
    else:
        query = tokens + places
        tokens = tokens + _attend(layer.self_attn, query, query, tokens)
    tokens = layer.norm1(tokens)
    to_image = layer.cross_attn_token_to_image
    tokens = tokens + _attend(
        to_image, tokens + places, placed, image, key_made=known.get("key"), value_made=known.get("value")
    )
    tokens = layer.norm2(tokens)
    tokens = layer.norm3(tokens + layer.mlp(tokens))
    to_tokens = layer.cross_attn_image_to_token
    image = image + _attend(to_tokens, placed, tokens + places, tokens, query_made=known.get("query"))
    return tokens, layer.norm4(image)


def _attend(
    attention: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_made: Tensor | None = None,
    key_made: Tensor | None = None,
    value_made: Tensor | None = None,
) -> Tensor:
    """Attention over (B, tokens, C) with a module's projections, or those that were made already."""
    heads = attention.num_attention_heads
    query = attention.q_proj(query) if query_made is None else query_made
    key = attention.k_proj(key) if key_made is None else key_made
    value = attention.v_proj(value) if value_made is None else value_made
    query, key, value = (made.unflatten(-1, (heads, -1)).transpose(1, 2) for made in (query, key, value))
    answer = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    return attention.out_proj(answer.transpose(1, 2).flatten(2))
