"""SAM 2's prompt encoder and mask decoder (Ravi et al., 2024): transformers' modules under the official names."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from samplug.models.decoders.base import (
    PositionEncoding,
    PromptedMaskDecoder,
    mask_downscaling,
    output_upscaling,
    rename_transformer,
)
from samplug.models.decoders.scratch import start_at_prompts
from samplug.models.decoders.two_way import TwoWayTransformer
from samplug.models.layers import MLP, rename
from samplug.registry import MODELS


@MODELS.register_module()
class SAM2MaskDecoder(PromptedMaskDecoder):
    """Decode the maps of :class:`SAM2Hiera`, with or without prompts, to masks at the resolution of the finest one.

    See :class:`PromptedMaskDecoder`. Entries have the official names, ``sam_prompt_encoder.*``, ``sam_mask_decoder.*``
    and ``no_mem_embed``; ``init_cfg=dict(type='Pretrained', checkpoint=...)`` takes its part of a SAM 2 file.

    Args:
        num_classes: 1; SAM 2's masks are of one object.
        threshold: Probability above which a pixel is foreground.
        prompts: Also train the parameters that only prompts use. False: they are frozen (embeddings of points, boxes
            and masks, heads of the other masks, of the predicted IoU and of the object score), so that data parallelism
            finds no parameter without a gradient.
        add_no_mem_embed: Add the vector that stands for "no memory" to the coarsest map, as SAM 2 does with single
            images. False: the map is decoded as it is; the vector stays in the state dict, frozen.
        scratch: Start values for training without pretrained weights, see :func:`start_at_prompts`. The root mean
            square of the encoder's coarsest map should be at most that of the position encoding, 0.7: larger maps
            hide positions.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='sam2.1_hiera_small.pt')``.

    Raises:
        ConfigError: ``num_classes`` is not 1.
    """

    prompts_name = "sam_prompt_encoder"
    decoder_name = "sam_mask_decoder"
    has_object_score = True
    pads_boxes = True
    dynamic_multimask = True
    low_res_limit = 32.0
    generator_preset = "sam2"

    def __init__(
        self,
        num_classes: int = 1,
        threshold: float = 0.5,
        prompts: bool = False,
        add_no_mem_embed: bool = True,
        scratch: bool = False,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(num_classes, threshold, init_cfg)
        self.add_no_mem_embed = add_no_mem_embed
        self.sam_prompt_encoder = _prompt_encoder()
        self.sam_mask_decoder = _mask_decoder()
        if scratch:
            start_at_prompts(self.sam_prompt_encoder, self.sam_mask_decoder)
        width = self.sam_prompt_encoder.hidden_size
        self.no_mem_embed = nn.Parameter(torch.empty(1, 1, width), requires_grad=add_no_mem_embed)
        nn.init.trunc_normal_(self.no_mem_embed, std=0.02)
        if not prompts:
            for unused in (
                self.sam_prompt_encoder.point_embeddings,
                self.sam_prompt_encoder.not_a_point_embed,
                self.sam_prompt_encoder.mask_downscaling,
                self.sam_mask_decoder.iou_prediction_head,
                self.sam_mask_decoder.pred_obj_score_head,
                self.sam_mask_decoder.output_hypernetworks_mlps[1:],
            ):
                unused.requires_grad_(False)

    def image_features(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Prepare the encoder's maps for :meth:`decode`, once for all prompts on an image.

        Args:
            features: Three maps of the encoder, (N, 256, 4g, 4g), (N, 256, 2g, 2g), (N, 256, g, g).

        Returns:
            (N, 32, 4g, 4g), (N, 64, 2g, 2g), (N, 256, g, g).
        """
        fine, middle, coarse = features
        if self.add_no_mem_embed:
            coarse = coarse + self.no_mem_embed.reshape(1, -1, 1, 1)
        return self.sam_mask_decoder.conv_s0(fine), self.sam_mask_decoder.conv_s1(middle), coarse


def _prompt_encoder() -> Any:
    # Here, not at the top: models with other decoders start without transformers.
    from transformers import Sam2PromptEncoderConfig
    from transformers.models.sam2.modeling_sam2 import Sam2PromptEncoder

    config = Sam2PromptEncoderConfig()
    encoder: Any = Sam2PromptEncoder(config)
    encoder.shared_embedding = PositionEncoding(encoder.hidden_size)
    # One module for each label, as in the official files; transformers has one table.
    encoder.point_embed = nn.ModuleList(
        nn.Embedding(1, encoder.hidden_size) for _ in range(config.num_point_embeddings)
    )
    encoder.mask_embed = mask_downscaling(encoder.mask_embed)
    rename(encoder, shared_embedding="pe_layer", point_embed="point_embeddings", mask_embed="mask_downscaling")
    return encoder


def _mask_decoder() -> Any:
    from transformers import Sam2MaskDecoderConfig
    from transformers.models.sam2.modeling_sam2 import Sam2Attention, Sam2MaskDecoder

    config = Sam2MaskDecoderConfig()
    config._attn_implementation = "sdpa"
    decoder: Any = Sam2MaskDecoder(config)
    width, masks = config.hidden_size, decoder.num_mask_tokens
    rename_transformer(decoder.transformer)
    for layer in decoder.transformer.layers:
        layer.mlp = MLP(width, config.mlp_dim, width)
    for module in decoder.modules():
        if isinstance(module, Sam2Attention):
            rename(module, o_proj="out_proj")
    decoder.transformer = TwoWayTransformer(decoder.transformer)
    decoder.output_upscaling = output_upscaling(decoder)
    decoder.output_hypernetworks_mlps = nn.ModuleList(MLP(width, width, width, width // 8) for _ in range(masks))
    decoder.iou_prediction_head = MLP(width, width, width, masks, last=torch.sigmoid)
    decoder.pred_obj_score_head = MLP(width, width, width, 1)
    return decoder
