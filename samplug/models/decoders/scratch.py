"""Start values of a mask decoder that is trained without pretrained weights."""

from typing import Any

import torch
from torch import nn

# Standard deviation of the learned tokens. At torch's 1 they hide the position of a prompt in its embedding.
_TOKENS = 0.02
# Scale of the matrices that compare positions of tokens and image: clicks find their place in maps of 8x8 to 16x16.
_SHARPNESS = 2.0
_IMAGE_UPDATE = 0.1


@torch.no_grad()
def start_at_prompts(prompt_layers: Any, mask_layers: Any) -> None:
    """Set start values with which all tokens read the image where the prompt is.

    With torch's own values the attention is nearly uniform over the image, and the decoder learns nothing from clicks
    for thousands of steps. Here learned tokens are small; the first attention among the tokens is their mean, so that
    each one holds the prompt's position; queries and keys of the attention from tokens to the image are the same
    projection, so that equal positions match; and the attention from the image to the tokens starts small.

    Args:
        prompt_layers: Prompt encoder.
        mask_layers: Mask decoder with a :class:`TwoWayTransformer`.
    """
    for layers in (prompt_layers, mask_layers):
        for module in layers.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=_TOKENS)
    transformer = mask_layers.transformer
    first = transformer.layers[0].self_attn
    for projection in (first.v_proj, first.out_proj):
        nn.init.eye_(projection.weight)
        nn.init.zeros_(projection.bias)
    readers = [layer.cross_attn_token_to_image for layer in transformer.layers]
    for attention in (*readers, transformer.final_attn_token_to_image):
        nn.init.orthogonal_(attention.q_proj.weight, gain=_SHARPNESS)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        for projection in (attention.q_proj, attention.k_proj):
            nn.init.zeros_(projection.bias)
    for layer in transformer.layers:
        update = layer.cross_attn_image_to_token.out_proj
        update.weight.mul_(_IMAGE_UPDATE)
        nn.init.zeros_(update.bias)
