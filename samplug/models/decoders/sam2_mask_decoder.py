"""SAM 2's prompt encoder and mask decoder (Ravi et al., 2024): transformers' modules under the official names."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models.decoders.base import (
    Masks,
    PositionEncoding,
    PromptedMaskDecoder,
    mask_downscaling,
    output_upscaling,
    rename_transformer,
)
from samplug.models.decoders.two_way import TwoWayTransformer
from samplug.models.layers import MLP, rename
from samplug.registry import MODELS

# What SAM 2 puts in place of the logits of an object that is not there.
NO_OBJECT_LOGIT = -1024.0


@MODELS.register_module()
class SAM2MaskDecoder(PromptedMaskDecoder):
    """From the maps of :class:`SAM2Hiera`, with or without prompts, to masks at the resolution of the finest.

    As a ``decode_head`` it takes no prompts: the dense input is the learned no-mask vector, and the first of SAM 2's masks is the
    answer. :meth:`embed_prompts` and :meth:`decode` are the whole image model; two points labelled 2 and 3 are the corners of a box.
    Entries have the official names, ``sam_prompt_encoder.*``, ``sam_mask_decoder.*`` and ``no_mem_embed``;
    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` takes its part of a SAM 2 file.

    Args:
        num_classes: 1; SAM 2's masks are of one object.
        threshold: Probability above which a pixel is foreground.
        prompts: False: what the answer without prompts does not depend on is frozen (embeddings of points, boxes and masks, the
            heads of the other masks, of the predicted IoU and of the object score), so that data parallelism finds no parameter
            without a gradient. True: all is trained.
        add_no_mem_embed: Add the vector that stands for "no memory" to the coarsest map, as SAM 2 does with single images. False:
            the map is decoded as it is; the vector stays in the state dict, frozen.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='sam2.1_hiera_small.pt')``.

    Raises:
        ConfigError: ``num_classes`` is not 1.
    """

    prompts_name = "sam_prompt_encoder"
    decoder_name = "sam_mask_decoder"
    has_object_score = True

    def __init__(
        self,
        num_classes: int = 1,
        threshold: float = 0.5,
        prompts: bool = False,
        add_no_mem_embed: bool = True,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(num_classes, threshold, init_cfg)
        self.add_no_mem_embed = add_no_mem_embed
        self.sam_prompt_encoder = _prompt_encoder()
        self.sam_mask_decoder = _mask_decoder()
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
        """What is decoded of an image, once for all of its prompts in the original.

        Args:
            features: The encoder's three maps, (N, 256, 4g, 4g), (N, 256, 2g, 2g), (N, 256, g, g).

        Returns:
            (N, 32, 4g, 4g), (N, 64, 2g, 2g), (N, 256, g, g).
        """
        fine, middle, coarse = features
        if self.add_no_mem_embed:
            coarse = coarse + self.no_mem_embed.reshape(1, -1, 1, 1)
        return self.sam_mask_decoder.conv_s0(fine), self.sam_mask_decoder.conv_s1(middle), coarse

    def decode(
        self,
        features: Sequence[Tensor],
        sparse: Tensor | None = None,
        dense: Tensor | None = None,
        multimask: bool = False,
        dynamic: bool = False,
        hide_absent: bool = False,
    ) -> Masks:
        """Masks, their predicted quality, and whether there is an object.

        Args:
            features: What :meth:`image_features` returns.
            sparse: (N, P, tokens, 256); None: no points and boxes, P = 1.
            dense: (N or 1, 256, g, g); None: no mask.
            multimask: The three masks for ambiguous prompts in place of the single one.
            dynamic: Where the single mask is not stable (its areas above +0.05 and above -0.05 have an IoU below 0.98), the best of
                the three by predicted IoU in its place, as from the original's predictor. Not in training, and of no effect with
                ``multimask``.
            hide_absent: Logits of objects whose score is not positive become -1024, as in the original's training and tracking;
                its predictor for images leaves them.

        Returns:
            M = 3 or 1 masks of P objects in each image.
        """
        fine, middle, image = features
        if sparse is None:
            sparse = image.new_zeros(len(image), 1, 0, image.shape[1])
        if dense is None:
            dense = self.sam_prompt_encoder.no_mask_embed.weight[:, :, None, None]
        position = self.image_positions(*image.shape[-2:])
        # Transformers keeps this choice with the module; here it belongs to the call.
        self.sam_mask_decoder.dynamic_multimask_via_stability = dynamic
        logits, iou, _, score = self.sam_mask_decoder(
            image_embeddings=image,
            image_positional_embeddings=position.to(image.dtype).expand(image.shape[0], -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            high_resolution_features=[fine, middle],
        )
        if hide_absent:
            logits = torch.where(score[..., None, None] > 0, logits, NO_OBJECT_LOGIT)
        return Masks(logits, iou, score)


class PointEmbeddings(nn.ModuleList):
    """One embedding for each label of a point, as in the official files: not on the object, on it, and a box's first and second corner."""

    def __init__(self, labels: int, dim: int) -> None:
        super().__init__(nn.Embedding(1, dim) for _ in range(labels))

    @property
    def weight(self) -> Tensor:
        """All of them, (labels, dim)."""
        return torch.cat([embedding.get_parameter("weight") for embedding in self])

    def forward(self, labels: Tensor) -> Tensor:
        """(...) integers -> (..., dim)."""
        return F.embedding(labels, self.weight)


def _prompt_encoder() -> Any:
    # Here, not at the top: models with other decoders start without transformers.
    from transformers import Sam2PromptEncoderConfig
    from transformers.models.sam2.modeling_sam2 import Sam2PromptEncoder

    config = Sam2PromptEncoderConfig()
    encoder: Any = Sam2PromptEncoder(config)
    encoder.shared_embedding = PositionEncoding(encoder.hidden_size)
    encoder.point_embed = PointEmbeddings(config.num_point_embeddings, encoder.hidden_size)
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
