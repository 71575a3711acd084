"""SAM's prompt encoder and mask decoder (Kirillov et al., 2023): transformers' modules under the official names."""

from typing import Any

from torch import nn

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

# Transformers' default for the two-way blocks is 1e-6, which moves logits by up to 8e-4.
_NORM_EPS = 1e-5


@MODELS.register_module()
class SAMMaskDecoder(PromptedMaskDecoder):
    """Decode the encoder's map (N, 256, g, g), with or without prompts, to masks at four times its resolution.

    See :class:`PromptedMaskDecoder`. Entries have the official names, ``prompt_encoder.*`` and ``mask_decoder.*``;
    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` takes its part of a SAM file.

    Args:
        num_classes: 1; SAM's masks are of one object.
        threshold: Probability above which a pixel is foreground.
        prompts: Also train the parameters that only prompts use. False: they are frozen (embeddings of points, boxes
            and masks, heads of the other masks and of the predicted IoU), so that data parallelism finds no parameter
            without a gradient.
        scratch: Start values for training without pretrained weights, see :func:`start_at_prompts`. The root mean
            square of the encoder's coarsest map should be at most that of the position encoding, 0.7: larger maps
            hide positions.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='sam_vit_b_01ec64.pth')``.

    Raises:
        ConfigError: ``num_classes`` is not 1.
    """

    prompts_name = "prompt_encoder"
    decoder_name = "mask_decoder"

    def __init__(
        self,
        num_classes: int = 1,
        threshold: float = 0.5,
        prompts: bool = False,
        scratch: bool = False,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(num_classes, threshold, init_cfg)
        self.prompt_encoder = _prompt_encoder()
        self.mask_decoder = _mask_decoder()
        if scratch:
            start_at_prompts(self.prompt_encoder, self.mask_decoder)
        if not prompts:
            for unused in (
                self.prompt_encoder.point_embeddings,
                self.prompt_encoder.not_a_point_embed,
                self.prompt_encoder.mask_downscaling,
                self.mask_decoder.iou_prediction_head,
                self.mask_decoder.output_hypernetworks_mlps[1:],
            ):
                unused.requires_grad_(False)


def _prompt_encoder() -> Any:
    # Here, not at the top: models with other decoders start without transformers.
    from transformers import SamConfig
    from transformers.models.sam.modeling_sam import SamPromptEncoder

    encoder: Any = SamPromptEncoder(SamConfig())
    encoder.shared_embedding = PositionEncoding(encoder.hidden_size)
    encoder.mask_embed = mask_downscaling(encoder.mask_embed)
    rename(encoder, shared_embedding="pe_layer", point_embed="point_embeddings", mask_embed="mask_downscaling")
    return encoder


def _mask_decoder() -> Any:
    from transformers import SamMaskDecoderConfig
    from transformers.models.sam.modeling_sam import SamMaskDecoder

    config = SamMaskDecoderConfig(layer_norm_eps=_NORM_EPS)
    config._attn_implementation = "sdpa"
    decoder: Any = SamMaskDecoder(config)
    width, masks = config.hidden_size, decoder.num_mask_tokens
    rename_transformer(decoder.transformer)
    decoder.transformer = TwoWayTransformer(decoder.transformer)
    decoder.output_upscaling = output_upscaling(decoder)
    decoder.output_hypernetworks_mlps = nn.ModuleList(MLP(width, width, width, width // 8) for _ in range(masks))
    decoder.iou_prediction_head = MLP(width, width, width, masks)
    return decoder
