"""Build transformers' models with the sizes of samplug's models, for folders that ``from_pretrained`` reads."""

from typing import Any

import torch

from samplug.utils.errors import ConfigError


def hub_sam(model: Any) -> Any:
    """Return a ``SamModel`` for a :class:`SAMViT` and a :class:`SAMMaskDecoder`, without weights (meta device)."""
    from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    encoder = model.backbone
    blocks = encoder.blocks
    windows = [block.window_size for block in blocks]
    vision = SamVisionConfig(
        hidden_size=encoder.embed_dims,
        output_channels=encoder.out_channels,
        num_hidden_layers=len(blocks),
        num_attention_heads=blocks[0].attn.num_heads,
        image_size=encoder.img_size,
        patch_size=encoder.patch_size,
        mlp_dim=blocks[0].mlp.lin1.out_features,
        window_size=max(windows),
        global_attn_indexes=[index for index, window in enumerate(windows) if not window],
    )
    config = SamConfig(
        vision_config=vision,
        prompt_encoder_config=SamPromptEncoderConfig(image_size=encoder.img_size, patch_size=encoder.patch_size),
        mask_decoder_config=SamMaskDecoderConfig(layer_norm_eps=model.decode_head.mask_decoder.config.layer_norm_eps),
    )
    with torch.device("meta"):
        return SamModel(config)


def hub_sam2(model: Any) -> Any:
    """Return a ``Sam2Model`` for a :class:`SAM2Hiera` and a :class:`SAM2MaskDecoder`, without weights (meta device).

    Raises:
        ConfigError: The model does not add the vector for "no memory", which ``Sam2Model`` always adds.
    """
    from transformers import Sam2Config, Sam2Model, Sam2PromptEncoderConfig, Sam2VisionConfig

    encoder = model.backbone
    if not model.decode_head.add_no_mem_embed:
        raise ConfigError(
            "export: the model was built with add_no_mem_embed=False, and transformers' Sam2Model always adds that "
            "vector: use --layout official"
        )
    size = encoder.img_size
    vision = Sam2VisionConfig(
        backbone_config=encoder.trunk.config.to_dict() | dict(image_size=[size, size]),
        backbone_channel_list=encoder.trunk.config.embed_dim_per_stage[::-1],
        backbone_feature_sizes=[[size // stride, size // stride] for stride in (4, 8, 16)],
        fpn_hidden_size=encoder.out_channels,
    )
    config = Sam2Config(vision_config=vision, prompt_encoder_config=Sam2PromptEncoderConfig(image_size=size))
    with torch.device("meta"):
        return Sam2Model(config)


def sam_preprocessor(encoder: Any) -> dict[str, Any]:
    """Return preprocessor_config.json for a :class:`SAMViT`: the longer side becomes the input size, then padding."""
    size, low = encoder.img_size, encoder.img_size // 4
    return _preprocessor(encoder) | {
        "image_processor_type": "SamImageProcessor",
        "processor_class": "SamProcessor",
        "do_pad": True,
        "size": {"longest_edge": size},
        "pad_size": {"height": size, "width": size},
        "mask_size": {"longest_edge": low},
        "mask_pad_size": {"height": low, "width": low},
    }


def sam2_preprocessor(encoder: Any) -> dict[str, Any]:
    """Return preprocessor_config.json for a :class:`SAM2Hiera`: both sides are resized to the input size."""
    size, low = encoder.img_size, encoder.img_size // 4
    return _preprocessor(encoder) | {
        "image_processor_type": "Sam2ImageProcessor",
        "processor_class": "Sam2Processor",
        "size": {"height": size, "width": size},
        "mask_size": {"height": low, "width": low},
    }


def _preprocessor(encoder: Any) -> dict[str, Any]:
    return {
        "image_mean": [value / 255 for value in encoder.mean],
        "image_std": [value / 255 for value in encoder.std],
        "rescale_factor": 1 / 255,
        "resample": 2,  # bilinear
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
    }
