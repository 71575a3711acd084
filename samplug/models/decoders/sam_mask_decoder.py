"""SAM's prompt encoder and mask decoder (Kirillov et al., 2023): transformers' modules under the official names."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from samplug.models.base import SamplugModule
from samplug.models.layers import MLP, move_out, rename
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

# Transformers' default for the two-way blocks is 1e-6, which moves logits by up to 8e-4.
_NORM_EPS = 1e-5


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


@MODELS.register_module()
class SAMMaskDecoder(SamplugModule):
    """From the encoder's map, with or without prompts, to masks at four times its resolution.

    As a ``decode_head`` it takes no prompts: the dense input is the learned no-mask vector, and the first of SAM's masks is the answer.
    :meth:`embed_prompts` and :meth:`decode` are the whole model. Entries have the official names, ``prompt_encoder.*`` and ``mask_decoder.*``;
    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` takes its part of a SAM file.

    Args:
        num_classes: 1; SAM's masks are of one object.
        threshold: Probability above which a pixel is foreground.
        prompts: False: what the answer without prompts does not depend on is frozen (embeddings of points, boxes and masks, the heads of the
            other masks and of the predicted IoU), so that data parallelism finds no parameter without a gradient. True: all is trained.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='sam_vit_b_01ec64.pth')``.

    Raises:
        ConfigError: ``num_classes`` is not 1.
    """

    checkpoint_part = "decode_head"

    def __init__(
        self,
        num_classes: int = 1,
        threshold: float = 0.5,
        prompts: bool = False,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_classes != 1:
            raise ConfigError(
                f"SAMMaskDecoder: num_classes={num_classes}, but SAM's decoder tells one object from the rest: use num_classes=1, or "
                f"another decode_head"
            )
        self.num_classes = num_classes
        self.threshold = threshold
        self.prompt_encoder = _prompt_encoder()
        self.mask_decoder = _mask_decoder()
        if not prompts:
            for unused in (
                self.prompt_encoder.point_embeddings,
                self.prompt_encoder.not_a_point_embed,
                self.prompt_encoder.mask_downscaling,
                self.mask_decoder.iou_prediction_head,
                self.mask_decoder.output_hypernetworks_mlps[1:],
            ):
                unused.requires_grad_(False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode without prompts.

        Args:
            features: One map (N, 256, g, g).

        Returns:
            Logits (N, 1, 4g, 4g).
        """
        return self.decode(features).logits[:, 0]

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
            grid: Side g of the encoder's map.
            points: (N, P, K, 2) float, (x, y) in pixels of the input.
            labels: (N, P, K): 1 = on the object, 0 = not on it, -1 = no point (padding).
            boxes: (N, P, 4) float, (x0, y0, x1, y1) in pixels of the input.
            masks: (N, 1, 4g, 4g) logits, one mask for an image: with several objects give each one its own copy of the features.

        Returns:
            Sparse embeddings (N, P, tokens, 256), None without points and boxes, and dense ones (N or 1, 256, g, g).
        """
        # Transformers keeps the sizes with the module; here they belong to the call.
        self.prompt_encoder.input_image_size = img_size
        self.prompt_encoder.image_embedding_size = (grid, grid)
        return self.prompt_encoder(points, labels, boxes, masks)

    def decode(
        self,
        features: Sequence[Tensor],
        sparse: Tensor | None = None,
        dense: Tensor | None = None,
        multimask: bool = False,
    ) -> "Masks":
        """Masks and their predicted quality.

        Args:
            features: The encoder's one map (N, 256, g, g).
            sparse: (N, P, tokens, 256); None: no points and boxes, P = 1.
            dense: (N or 1, 256, g, g); None: no mask.
            multimask: The three masks for ambiguous prompts in place of the single one.

        Returns:
            M = 3 or 1 masks of P objects in each image.
        """
        (image,) = features
        if dense is None:
            dense = self.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        position = self.image_positions(*image.shape[-2:])
        logits, iou = self.mask_decoder(
            image_embeddings=image,
            image_positional_embeddings=position.to(image.dtype).expand(len(image), -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        return Masks(logits, iou, None)

    def image_positions(self, height: int, width: int) -> Tensor:
        """Encoded centres of the cells of a map, (1, 256, height, width) float32."""
        encoding = self.prompt_encoder.pe_layer
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


def _prompt_encoder() -> Any:
    # Here, not at the top: models with other decoders start without transformers.
    from transformers import SamConfig
    from transformers.models.sam.modeling_sam import SamPromptEncoder

    encoder: Any = SamPromptEncoder(SamConfig())
    masks = encoder.mask_embed
    encoder.shared_embedding = PositionEncoding(encoder.hidden_size)
    encoder.mask_embed = nn.Sequential(
        masks.conv1, masks.layer_norm1, nn.GELU(), masks.conv2, masks.layer_norm2, nn.GELU(), masks.conv3
    )
    rename(encoder, shared_embedding="pe_layer", point_embed="point_embeddings", mask_embed="mask_downscaling")
    return encoder


def _mask_decoder() -> Any:
    from transformers import SamMaskDecoderConfig
    from transformers.models.sam.modeling_sam import SamMaskDecoder

    config = SamMaskDecoderConfig(layer_norm_eps=_NORM_EPS)
    config._attn_implementation = "sdpa"
    decoder: Any = SamMaskDecoder(config)
    width, masks = config.hidden_size, decoder.num_mask_tokens
    rename(decoder.transformer, layer_norm_final_attn="norm_final_attn")
    for layer in decoder.transformer.layers:
        rename(layer, **{f"layer_norm{index}": f"norm{index}" for index in (1, 2, 3, 4)})
    decoder.output_upscaling = nn.Sequential(
        move_out(decoder, "upscale_conv1"),
        move_out(decoder, "upscale_layer_norm"),
        nn.GELU(),
        move_out(decoder, "upscale_conv2"),
        nn.GELU(),
    )
    decoder.output_hypernetworks_mlps = nn.ModuleList(MLP(width, width, width, width // 8) for _ in range(masks))
    decoder.iou_prediction_head = MLP(width, width, width, masks)
    return decoder
