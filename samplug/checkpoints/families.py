"""Recognise published weight files by their keys, and rename their entries to samplug's.

samplug's names are ``backbone.``, ``adapter.`` or ``decode_head.`` followed by the official names (SAM's decoder:
``decode_head.prompt_encoder.`` and ``decode_head.mask_decoder.``; SAM 2's: the same with ``sam_`` before the part). A
file is converted to this layout first; a module then takes the entries of its part.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from samplug.checkpoints import clip_names, dinov2_names
from samplug.checkpoints.errors import WeightsError
from samplug.checkpoints.renaming import Place, Rows, Transposed, substituted


@dataclass(frozen=True)
class Family:
    """A layout of weight files.

    Attributes:
        name: Name in messages.
        marker: Regular expression; a file has this layout if a key matches.
        rename: Function from the file's key to samplug's key; to a tuple of keys, one for each row of the tensor; to
            :class:`Rows` of a key; to a key whose matrix is :class:`Transposed`; or to ``()`` for an entry that
            samplug's models do not use. None: the layout is only recognised for messages.
        parts: Pairs of prefixes in the file and in samplug, for layouts that differ in the prefix only.
    """

    name: str
    marker: str
    rename: Callable[[str], Place] | None
    parts: tuple[tuple[str, str], ...] = ()

    def matches(self, keys: Iterable[str]) -> bool:
        return any(re.search(self.marker, key) for key in keys)

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the file's entries under samplug's keys.

        An entry whose number of rows differs from that of its keys keeps its name and is reported later, as do rows
        of a key that do not make up the whole.
        """
        converted: dict[str, Tensor] = {}
        split: dict[str, dict[str, Rows]] = {}
        for key, value in state.items():
            place = key if self.rename is None else self.rename(key)
            if isinstance(place, str):
                converted[place] = value
            elif isinstance(place, Rows):
                split.setdefault(place.name, {})[key] = place
            elif isinstance(place, Transposed):
                converted[place.name] = value.T.contiguous() if value.ndim == 2 else value
            elif place and (value.ndim == 0 or len(value) != len(place)):
                converted[key] = value
            else:
                converted.update(zip(place, value.split(1) if place else (), strict=True))
        for name, rows in split.items():
            keys = sorted(rows, key=lambda key: rows[key].index)
            complete = [rows[key].index for key in keys] == list(range(rows[keys[0]].count))
            if complete and state[keys[0]].ndim and len({state[key].shape for key in keys}) == 1:
                converted[name] = torch.cat([state[key] for key in keys])
            else:
                converted.update({key: state[key] for key in keys})
        return converted

    def keys_of(self, keys: Iterable[str]) -> list[str]:
        """Return the file's keys for samplug's keys that begin with a prefix of ``parts``."""
        reverse = [(new, old) for old, new in self.parts]
        return [_exchange(key, reverse) for key in keys if key.startswith(tuple(new for new, _ in reverse))]

    def gather(self, state: Mapping[str, Tensor], keys: Iterable[str]) -> dict[str, Tensor]:
        """Return the entries of a file of this layout from samplug's entries: the reverse of :meth:`convert`.

        Args:
            state: All entries of a model, under samplug's keys.
            keys: All keys of the file.

        Raises:
            WeightsError: An entry is not in the file, or a key of the file has no entry.
        """
        assert self.rename is not None
        places = {key: self.rename(key) for key in keys}
        wanted = {name for place in places.values() for name in _names(place)}
        unknown, absent = sorted(set(state) - wanted), sorted(wanted - set(state))
        if unknown or absent:
            raise WeightsError(
                f"export: {self.name} has no place for {len(unknown)} entries of the model "
                f"({', '.join(unknown[:4]) or 'none'}), and the model lacks {len(absent)} of its entries "
                f"({', '.join(absent[:4]) or 'none'}): keep samplug's own checkpoint"
            )
        return {key: _entry(state, place) for key, place in places.items()}


def _names(place: Place) -> tuple[str, ...]:
    if isinstance(place, Rows | Transposed):
        return (place.name,)
    return (place,) if isinstance(place, str) else place


def _entry(state: Mapping[str, Tensor], place: Place) -> Tensor:
    if isinstance(place, Rows):
        return state[place.name].chunk(place.count)[place.index]
    if isinstance(place, Transposed):
        return state[place.name].T
    names = _names(place)
    return torch.cat([state[name] for name in names]) if len(names) > 1 else state[names[0]]


_ADAPTER_PARTS = ("csa_embedding", "fft_embedding", "csa_blocks", "mrm_blocks")


def _ts_sam(key: str) -> str:
    if key.startswith("image_encoder."):
        name = key.removeprefix("image_encoder.")
        return f"adapter.{name}" if name.startswith(_ADAPTER_PARTS) else f"backbone.{name}"
    return re.sub(r"^mask_decoder\.", "decode_head.", key)


# Prefixes of the official keys and of samplug's; a whole key is a prefix too.
_SAM_PARTS = (
    ("image_encoder.", "backbone."),
    ("prompt_encoder.", "decode_head.prompt_encoder."),
    ("mask_decoder.", "decode_head.mask_decoder."),
)
_SAM2_PARTS = (
    ("image_encoder.", "backbone."),
    ("sam_prompt_encoder.", "decode_head.sam_prompt_encoder."),
    ("sam_mask_decoder.", "decode_head.sam_mask_decoder."),
    ("no_mem_embed", "decode_head.no_mem_embed"),
)


def _exchange(key: str, parts: Iterable[tuple[str, str]]) -> str:
    for old, new in parts:
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def _sam(key: str) -> str:
    return _exchange(key, _SAM_PARTS)


# Entries of the video model: memory, and pointers to objects of other frames.
_SAM2_VIDEO = re.compile(
    r"^(memory_attention|memory_encoder|mask_downsample|obj_ptr_proj|obj_ptr_tpos_proj)\.|"
    r"^(maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)$"
)


def _sam2(key: str) -> str | tuple[str, ...]:
    if _SAM2_VIDEO.search(key):
        return ()
    return _exchange(key, _SAM2_PARTS)


# Hugging Face's name -> the official one; the first pattern that matches applies.
_HF_DECODER = (
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
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|\w+_head)\.)proj_in\.", r"\1layers.0."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|\w+_head)\.)layers\.0\.", r"\1layers.1."),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|\w+_head)\.)proj_out\.", r"\1layers.2."),
    (r"^(mask_decoder\.transformer\..*)layer_norm(\d|_final_attn)\.", r"\1norm\2."),
)
_HF_SAM = (
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm([12])\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    *_HF_DECODER,
)
_HF_SAM2 = (
    (r"^vision_encoder\.backbone\.(blocks\.\d+)\.layer_norm([12])\.", r"image_encoder.trunk.\1.norm\2."),
    (r"^vision_encoder\.backbone\.(blocks\.\d+\.mlp)\.proj_in\.", r"image_encoder.trunk.\1.layers.0."),
    (r"^vision_encoder\.backbone\.(blocks\.\d+\.mlp)\.proj_out\.", r"image_encoder.trunk.\1.layers.1."),
    (r"^vision_encoder\.backbone\.patch_embed\.projection\.", "image_encoder.trunk.patch_embed.proj."),
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.(convs\.\d+)\.", r"image_encoder.neck.\1.conv."),
    (r"^(mask_decoder\.transformer\..*\.mlp\.)proj_in\.", r"\1layers.0."),
    (r"^(mask_decoder\.transformer\..*\.mlp\.)proj_out\.", r"\1layers.1."),
    (r"^(mask_decoder\.transformer\..*\.)o_proj\.", r"\1out_proj."),
    (r"^no_memory_embedding$", "no_mem_embed"),
    *_HF_DECODER,
)
_HF_SAM2_VIDEO = re.compile(
    r"^(memory_attention|memory_encoder|mask_downsample|object_pointer_proj|temporal_positional_encoding_projection_layer)\.|"
    r"^(memory_temporal_positional_encoding|no_memory_positional_encoding|no_object_pointer|occlusion_spatial_embedding_parameter)$"
)
_POINT_LABELS = 4


def _sam_hf(key: str) -> str:
    return _sam(substituted(key, _HF_SAM))


def _sam2_hf(key: str) -> str | tuple[str, ...]:
    if _HF_SAM2_VIDEO.search(key):
        return ()
    if key == "prompt_encoder.point_embed.weight":  # one matrix here, an embedding for each label in the official files
        return tuple(f"decode_head.sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(_POINT_LABELS))
    return _sam2(re.sub(r"^(prompt_encoder|mask_decoder)\.", r"sam_\1.", substituted(key, _HF_SAM2)))


# The first that matches wins: special layouts before those they extend.
FAMILIES: tuple[Family, ...] = (
    Family("TS-SAM", r"^image_encoder\.csa_blocks\.", _ts_sam),
    Family("SAM 2", r"^image_encoder\.trunk\.|^sam_mask_decoder\.", _sam2, _SAM2_PARTS),
    Family("SAM 2 (Hugging Face)", r"^vision_encoder\.backbone\.", _sam2_hf),
    Family("SAM (official)", r"^image_encoder\.(blocks\.|pos_embed)", _sam, _SAM_PARTS),
    Family("SAM (Hugging Face)", r"^vision_encoder\.(layers\.|pos_embed)", _sam_hf),
    Family("CLIP with another image encoder (ResNet or timm's)", r"^visual\.(attnpool|trunk)\.", None),
    Family("CLIP", r"^visual\.class_embedding$", clip_names.official_name),
    Family("CLIP (image encoder)", r"^class_embedding$", clip_names.encoder_name),
    Family("CLIP (Hugging Face)", r"^(vision_model\.)?embeddings\.class_embedding$", clip_names.hub_name),
    Family("DINOv2", dinov2_names.OFFICIAL_MARKER, dinov2_names.official_name),
    Family("DINOv2 (Hugging Face)", dinov2_names.HUB_MARKER, dinov2_names.hub_name),
    Family("samplug", r"^(backbone|adapter|decode_head)\.", lambda key: key),
    Family("a linear head (such as DINOv2's)", r"^weight$", lambda key: f"head.linears.0.{key}"),
)
_TORCH_WRAPPERS = re.compile(r"(^|\.)(?:(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+")
_COUNTERS = frozenset({"steps", "n_averaged"})
# (width of the first stage, number of blocks) -> name.
_SIZES = {
    (384, 12): "ViT-S",
    (768, 12): "ViT-B",
    (1024, 24): "ViT-L",
    (1280, 32): "ViT-H",
    (1536, 40): "ViT-g",
    (96, 12): "Hiera-T",
    (96, 16): "Hiera-S",
    (112, 24): "Hiera-B+",
    (144, 48): "Hiera-L",
}


def family_named(name: str) -> Family:
    """Return the family of this name."""
    return next(family for family in FAMILIES if family.name == name)


def without_torch_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove name parts of torch's wrappers: compiled modules, sharded modules, activation checkpointing."""
    return {_TORCH_WRAPPERS.sub(r"\1", key): value for key, value in state.items()}


def without_shared_prefix(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]] | None:
    """Remove a prefix that all names share, such as ``module.`` or Lightning's ``model.``.

    Counters that averaged models (EMA) store beside ``module.`` are left out.

    Returns:
        The prefix and the renamed entries, or None if the names share no prefix.
    """
    averaged = any(key.startswith("module.") for key in state)
    keys = [key for key in state if not (averaged and key in _COUNTERS)]
    heads = {key.partition(".")[0] if "." in key else None for key in keys}
    if len(heads) != 1 or None in heads:
        return None
    (head,) = heads
    return str(head), {key.partition(".")[2]: state[key] for key in keys}


def readings(state: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield a state dict as it is, then without each prefix that all names share.

    Yields:
        The prefix that was removed (``''``, ``'module.'``, ``'module.model.'``, ...) and the entries.
    """
    removed, reading = "", dict(state)
    yield removed, reading
    while stripped := without_shared_prefix(reading):
        removed, reading = f"{removed}{stripped[0]}.", stripped[1]
        yield removed, reading


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the first of the :func:`readings` with a known layout, or the state dict itself."""
    return next((reading for _, reading in readings(state) if recognise(reading)), dict(state))


def recognise(keys: Iterable[str]) -> Family | None:
    """Return the family of a file with these keys; None if samplug does not know its layout."""
    keys = list(keys)
    return next((family for family in FAMILIES if family.matches(keys)), None)


def describe(state: Mapping[str, Tensor]) -> str:
    """Describe a file for messages: family, and architecture and input size if the tensors show them."""
    state = unwrapped(state)
    family = recognise(state)
    if family is None:
        return f"no layout that samplug knows (first keys: {', '.join(list(state)[:3]) or 'none'})"
    if family.name.startswith("CLIP"):
        return f"{family.name} {clip_names.describe_encoder(family.convert(state))}".rstrip()
    if family.name.startswith("DINOv2"):
        return _describe_dinov2(family.name, state)
    positions = next((value for key, value in state.items() if key.endswith("pos_embed") and value.ndim == 4), None)
    patches = next(
        (v for k, v in state.items() if re.search(r"patch_embed\.proj(ection)?\.weight$", k) and v.ndim == 4), None
    )
    if positions is None or patches is None or family.rename is None:
        return family.name
    width, patch = patches.shape[0], patches.shape[-1]
    depth = len(
        {match[1] for key in state if (match := re.search(r"(?:blocks|layers)\.(\d+)\.attn\.qkv\.weight$", key))}
    )
    arch = _arch(width, depth)
    if positions.shape[-1] != width:  # SAM 2's table, channels first, does not depend on the input size
        return f"{family.name} {arch}"
    return f"{family.name} {arch} for {positions.shape[1] * patch} px"


def _describe_dinov2(name: str, state: Mapping[str, Tensor]) -> str:
    sizes = dinov2_names.encoder_sizes(state)
    if sizes is None:
        return name
    width, depth, registers = sizes
    return f"{name} {_arch(width, depth)}, {registers or 'no'} registers"


def _arch(width: int, depth: int) -> str:
    return _SIZES.get((width, depth), f"encoder of width {width} with {depth} blocks")
