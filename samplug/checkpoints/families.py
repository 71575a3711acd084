"""Recognising published weight files by their keys, and renaming their entries to samplug's.

samplug's names are ``backbone.``, ``adapter.``, ``decode_head.`` followed by the official names (of SAM's decoder:
``decode_head.prompt_encoder.`` and ``decode_head.mask_decoder.``); a file is first brought to that layout, and a module then takes the
part that it is.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Family:
    """A layout of weight files.

    Attributes:
        name: For messages.
        marker: Regular expression; the layout is this one if a key matches.
        rename: Key of the file -> samplug's key. None: recognised only to say so in an error.
    """

    name: str
    marker: str
    rename: Callable[[str], str] | None

    def matches(self, keys: Iterable[str]) -> bool:
        return any(re.search(self.marker, key) for key in keys)


_ADAPTER_PARTS = ("csa_embedding", "fft_embedding", "csa_blocks", "mrm_blocks")


def _ts_sam(key: str) -> str:
    if key.startswith("image_encoder."):
        name = key.removeprefix("image_encoder.")
        return f"adapter.{name}" if name.startswith(_ADAPTER_PARTS) else f"backbone.{name}"
    return re.sub(r"^mask_decoder\.", "decode_head.", key)


def _sam(key: str) -> str:
    if key.startswith(("prompt_encoder.", "mask_decoder.")):
        return f"decode_head.{key}"
    return re.sub(r"^image_encoder\.", "backbone.", key)


# Hugging Face's name -> the official one; the first pattern that matches counts.
_HF_NAMES = (
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm([12])\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    # One matrix, stored once or twice.
    (
        r"^(shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head)\.)proj_in\.", r"\1layers.0."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head)\.)layers\.0\.", r"\1layers.1."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head)\.)proj_out\.", r"\1layers.2."),
    (r"^(mask_decoder\.transformer\..*)layer_norm(\d|_final_attn)\.", r"\1norm\2."),
)


def _sam_hf(key: str) -> str:
    for pattern, replacement in _HF_NAMES:
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return _sam(renamed)
    return _sam(key)


# The first that matches wins: special layouts before those they extend.
FAMILIES: tuple[Family, ...] = (
    Family("TS-SAM", r"^image_encoder\.csa_blocks\.", _ts_sam),
    Family("SAM 2", r"^image_encoder\.trunk\.|^vision_encoder\.backbone\.", None),
    Family("SAM (official)", r"^image_encoder\.(blocks\.|pos_embed)", _sam),
    Family("SAM (Hugging Face)", r"^vision_encoder\.(layers\.|pos_embed)", _sam_hf),
    Family("CLIP", r"^visual\.conv1|^vision_model\.|\bclass_embedding$", None),
    Family("DINOv2", r"(^|\.)(cls_token|mask_token)$", None),
    Family("samplug", r"^(backbone|adapter|decode_head)\.", lambda key: key),
)
_SIZES = {(768, 12): "ViT-B", (1024, 24): "ViT-L", (1280, 32): "ViT-H"}


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint: unwraps ``state_dict`` or ``model``, strips the ``module.`` of DataParallel."""
    for wrapper in ("state_dict", "model"):
        inner = checkpoint.get(wrapper)
        if isinstance(inner, Mapping):
            checkpoint = inner
            break
    tensors = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    if tensors and all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors


def recognise(keys: Iterable[str]) -> Family | None:
    """The family of a file, by its keys; None for none that samplug knows."""
    keys = list(keys)
    return next((family for family in FAMILIES if family.matches(keys)), None)


def describe(state: Mapping[str, Tensor]) -> str:
    """What a file looks like, for messages: family, architecture and input size where they can be told."""
    family = recognise(state)
    if family is None:
        return f"no layout that samplug knows (first keys: {', '.join(list(state)[:3]) or 'none'})"
    positions = next((value for key, value in state.items() if key.endswith("pos_embed") and value.ndim == 4), None)
    if positions is None or family.rename is None:
        return family.name
    width, grid = positions.shape[-1], positions.shape[1]
    depth = len(
        {match[1] for key in state if (match := re.search(r"(?:blocks|layers)\.(\d+)\.attn\.qkv\.weight$", key))}
    )
    arch = _SIZES.get((width, depth), f"ViT of width {width} with {depth} blocks")
    patch = next((v.shape[-1] for k, v in state.items() if re.search(r"patch_embed\.proj(ection)?\.weight$", k)), 16)
    return f"{family.name} {arch} for {grid * patch} px"
