"""Names in DINOv2's weight files: official, of DINOv2's own trainings, and Hugging Face's."""

import re
from collections.abc import Collection, Iterable, Mapping

from torch import Tensor

from samplug.checkpoints.renaming import Place, Rows, substituted

OFFICIAL_MARKER = r"^(mask_token|backbone\.mask_token|blocks\.\d+\.(\d+\.)?ls1\.gamma)$"
HUB_MARKER = r"^(\w+\.)?encoder\.layer\.\d+\.layer_scale1\.lambda1$"
# Heads of DINOv2's self-supervised training.
_TRAINING = re.compile(r"^(dino_head|ibot_head)\.")
_HUB = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.", ""),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.(\d+\.)attention\.(?:output\.dense|o_proj)\.", r"blocks.\1attn.proj."),
    (r"^encoder\.layer\.(\d+\.)layer_scale([12])\.lambda1$", r"blocks.\1ls\2.gamma"),
    (r"^encoder\.layer\.(\d+\.)mlp\.weights_in\.", r"blocks.\1mlp.w12."),
    (r"^encoder\.layer\.(\d+\.)mlp\.(?:weights_out|down_proj)\.", r"blocks.\1mlp.w3."),
    (r"^encoder\.layer\.", "blocks."),
)
# Matrices of which transformers' entries hold some rows; the second form is that of models in memory.
_HUB_ROWS = re.compile(
    r"^encoder\.layer\.(?P<block>\d+)\.(?:"
    r"attention\.(?:attention\.(?P<qkv>query|key|value)|(?P<short>[qkv])_proj)|mlp\.(?P<gated>gate|up)_proj"
    r")\.(?P<kind>weight|bias)$"
)
_PUBLISHED = {(384, 12): "vits14", (768, 12): "vitb14", (1024, 24): "vitl14", (1536, 40): "vitg14"}


def official_name(key: str) -> Place:
    """Return samplug's key of an official file's, or of a training checkpoint's with its ``backbone.``.

    The mask token and the heads are used in DINOv2's training only.
    """
    name = key.removeprefix("backbone.")
    if name == "mask_token" or _TRAINING.match(name):
        return ()
    # Sharded trainings keep blocks in chunks, numbered through: blocks.CHUNK.BLOCK.
    return "backbone." + re.sub(r"^blocks\.\d+\.(?=\d+\.)", "blocks.", name)


def hub_name(key: str) -> Place:
    """Return samplug's key of a Hugging Face file's; a classifier's entries keep their names."""
    key = re.sub(r"^\w+\.(?=(embeddings|encoder|layernorm)\.)", "", key)
    if key == "embeddings.mask_token":
        return ()
    if found := _HUB_ROWS.match(key):
        head = f"backbone.blocks.{found['block']}."
        if found["gated"]:
            return Rows(f"{head}mlp.w12.{found['kind']}", ("gate", "up").index(found["gated"]), 2)
        return Rows(f"{head}attn.qkv.{found['kind']}", "qkv".index(found["short"] or found["qkv"][0]), 3)
    if key.startswith(("embeddings.", "encoder.", "layernorm.")):
        return "backbone." + substituted(key, _HUB)
    return key


def encoder_sizes(state: Mapping[str, Tensor]) -> tuple[int, int, int] | None:
    """Return width, number of blocks and number of registers of a file or model; None if its entries do not tell."""
    last = {key.rpartition(".")[2]: value for key, value in state.items()}
    if "cls_token" not in last or last["cls_token"].ndim != 3:
        return None
    blocks = {found[1] for key in state if (found := re.search(r"\.(\d+)\.(?:ls1|layer_scale1)\.", key))}
    registers = last["register_tokens"].shape[1] if "register_tokens" in last else 0
    return last["cls_token"].shape[-1], len(blocks), registers


def advice(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], missing: Collection[str], unexpected: Collection[str]
) -> str:
    """Return what to do about a DINOv2 file that does not fit.

    Args:
        state: Entries of the file.
        own: Entries of the module.
        missing: Names of the module that the file lacks.
        unexpected: Names of the file that the module lacks.
    """
    if not any(name.endswith(".ls1.gamma") for name in own):
        return "this module cannot take DINOv2 weights; choose a file made for it"
    if not unexpected and missing and not any(_in_encoder(name, own) for name in missing):
        return "a DINOv2 file holds the encoder alone: set it as init_cfg of model.backbone, not of the whole model"
    sizes = encoder_sizes(state)
    if sizes == encoder_sizes(own):
        return "the sizes fit: check ffn, mlp_ratio, patch_size and pos_grid of arch, or fetch the file again"
    name = _PUBLISHED.get(sizes[:2]) if sizes else None
    if sizes is None or name is None or sizes[2] not in (0, 4):
        remedy = "build the encoder with the file's sizes (arch as a dict, with num_registers), or take another file"
    else:
        remedy = f"set arch='{name}{'_reg4' * bool(sizes[2])}' in the encoder, or take the file of the encoder's arch"
    for text, names in (("has", unexpected), ("lacks", missing)):
        if any(name.rpartition(".")[2] == "register_tokens" for name in names):
            return f"the file {text} registers, unlike this encoder: {remedy}"
    return remedy


def _in_encoder(name: str, own: Iterable[str]) -> bool:
    """Return True for a name of the module's encoder, which is under ``backbone.`` or the module itself."""
    return name.startswith("backbone.") or not any(other.startswith("backbone.") for other in own)
