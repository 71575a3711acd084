"""Names in CLIP's weight files: OpenAI's and open_clip's, those of the image encoder alone, and Hugging Face's."""

import math
import re
from collections.abc import Collection, Mapping

from torch import Tensor

from samplug.checkpoints.renaming import Place, Rows, Transposed, substituted

# Entries of the text part, and sizes that OpenAI's files hold beside it.
_TEXT = re.compile(
    r"^(transformer|token_embedding|ln_final|text)\.|"
    r"^(positional_embedding|text_projection|logit_scale|logit_bias|attn_mask|input_resolution|context_length|vocab_size)$"
)
_HF_TEXT = re.compile(r"^(text_model|text_projection)\.|^logit_scale$|embeddings\.position_ids$")
_HF_NAMES = (
    (r"^embeddings\.class_embedding$", "class_embedding"),
    (r"^embeddings\.patch_embedding\.weight$", "conv1.weight"),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^pre_layrnorm\.", "ln_pre."),
    (r"^post_layernorm\.", "ln_post."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.", r"transformer.resblocks.\1.attn."),
    (r"^encoder\.layers\.(\d+)\.layer_norm([12])\.", r"transformer.resblocks.\1.ln_\2."),
    (r"^encoder\.layers\.(\d+)\.mlp\.fc1\.", r"transformer.resblocks.\1.mlp.c_fc."),
    (r"^encoder\.layers\.(\d+)\.mlp\.fc2\.", r"transformer.resblocks.\1.mlp.c_proj."),
)
_HF_ROWS = re.compile(r"^encoder\.layers\.(?P<block>\d+)\.self_attn\.(?P<part>[qkv])_proj\.(?P<kind>weight|bias)$")
_SIZES = {(768, 12): "ViT-B/", (1024, 24): "ViT-L/", (1280, 32): "ViT-H/"}  # width, blocks


def official_name(key: str) -> Place:
    """Return samplug's key of a whole model's; the text part is not used."""
    if _TEXT.search(key):
        return ()
    return encoder_name(key.removeprefix("visual.")) if key.startswith("visual.") else key


def encoder_name(key: str) -> Place:
    """Return samplug's key of the image encoder's."""
    return "backbone." + key.replace(".attn.in_proj_", ".attn.in_proj.")


def hub_name(key: str) -> Place:
    """Return samplug's key of a Hugging Face file's; the text part is not used, a classifier keeps its keys."""
    if _HF_TEXT.search(key):
        return ()
    if key == "visual_projection.weight":
        return Transposed("backbone.proj")
    name = key.removeprefix("vision_model.")
    if found := _HF_ROWS.match(name):
        whole = f"backbone.transformer.resblocks.{found['block']}.attn.in_proj.{found['kind']}"
        return Rows(whole, "qkv".index(found["part"]), 3)
    renamed = substituted(name, _HF_NAMES)
    return key if renamed == key else f"backbone.{renamed}"


def describe_encoder(state: Mapping[str, Tensor]) -> str:
    """Describe an image encoder under samplug's keys, such as ``'ViT-B/32 for 224 px'``; empty without its tables."""
    patches, positions = state.get("backbone.conv1.weight"), state.get("backbone.positional_embedding")
    if patches is None or positions is None or patches.ndim != 4 or positions.ndim != 2:
        return ""
    width, patch = patches.shape[0], patches.shape[-1]
    depth = sum(re.fullmatch(r"backbone\.transformer\.resblocks\.\d+\.ln_1\.weight", key) is not None for key in state)
    arch = _SIZES.get((width, depth), f"encoder of width {width} with {depth} blocks, patch size ")
    return f"{arch}{patch} for {math.isqrt(max(len(positions) - 1, 0)) * patch} px"


def advice(own: Collection[str], missing: Collection[str]) -> str:
    """Return what to do about a CLIP file that does not fit.

    Args:
        own: Names of the module.
        missing: Names of the module that the file lacks.
    """
    head = "backbone." if any(name.startswith("backbone.") for name in own) else ""
    if f"{head}class_embedding" not in own:
        return "this module cannot take CLIP weights; choose a file made for it"
    if set(missing) == {f"{head}proj"}:
        return "the file has no projection: set project=False in the CLIPViT's config, or take a file that has one"
    if missing and head and not any(name.startswith(head) for name in missing):
        return "a CLIP file is for the encoder alone: set it as init_cfg of model.backbone, not of the whole model"
    return "set the arch of the file (a dict of sizes if it has no name) in the CLIPViT's config, or take another file"
