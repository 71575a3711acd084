"""Export a trained model as a file that the original code or transformers reads."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor, nn

from samplug.apis.model import config_of, init_model
from samplug.checkpoints.export import SAM, SAM2, check_target, hub_state, official_file, save, staged, video_entries
from samplug.checkpoints.hub_models import hub_sam, hub_sam2, sam2_preprocessor, sam_preprocessor
from samplug.models.adapters import LoRAAdapter
from samplug.models.backbones import CachedEncoder, SAM2Hiera, SAMViT
from samplug.models.decoders import SAM2MaskDecoder, SAMMaskDecoder
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, check_choice

Layout = Literal["official", "hf"]


@dataclass(frozen=True)
class _Kind:
    """Layout and parts of a published family, and its model in transformers."""

    family: str
    backbone: type[nn.Module]
    decode_head: type[nn.Module]
    hub_model: Callable[[nn.Module], Any]
    hub_preprocessor: Callable[[Any], dict[str, Any]]


_KINDS = (
    _Kind(SAM, SAMViT, SAMMaskDecoder, hub_sam, sam_preprocessor),
    _Kind(SAM2, SAM2Hiera, SAM2MaskDecoder, hub_sam2, sam2_preprocessor),
)


@dataclass(frozen=True)
class Exported:
    """Result of :func:`export_weights`.

    Attributes:
        path: The file, or the folder.
        entries: Number of tensors.
        notes: Remarks for the user of the file.
    """

    path: Path
    entries: int
    notes: tuple[str, ...]


def export_weights(
    config: str | Path | Config,
    checkpoint: str | Path | None,
    out: str | Path,
    layout: Layout = "official",
    video_weights: str | None = None,
    overwrite: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
) -> Exported:
    """Write the weights of a model with SAM's or SAM 2's encoder and decoder in a published layout.

    LoRA is merged into the encoder.

    Args:
        config: See :func:`samplug.apis.init_model`, as are ``checkpoint`` and ``cfg_options``.
        checkpoint: Weights of the model.
        out: The file, or with ``layout='hf'`` the folder.
        layout: ``'official'``: a file for segment-anything or sam2. ``'hf'``: a folder for ``from_pretrained`` of
            transformers' ``SamModel`` or ``Sam2Model``.
        video_weights: An original SAM 2 file from which the entries of the video model are copied; see
            :func:`samplug.checkpoints.fetch`. Only for the official layout of SAM 2.
        overwrite: Replace what is there.

    Raises:
        ConfigError: The layout is unknown or cannot hold the model, or ``video_weights`` do not belong to it.
        UserError: Something is at ``out`` already, or it cannot be written.
        WeightsError: See :func:`samplug.apis.init_model`.
    """
    check_choice("export", "layout", layout, get_args(Layout))
    out = Path(out).expanduser()
    check_target(out, layout == "hf", overwrite)
    model = init_model(_with_encoder(config, cfg_options), checkpoint, "cpu")
    state = _merged_state(model)
    kind = _kind(model)
    if video_weights and (layout, kind.family) != ("official", SAM2):
        raise ConfigError("export: video weights belong to SAM 2's official layout only: leave --video-weights out")
    if layout == "hf":
        return _write_hub(model, kind, state, out)
    video = video_entries(video_weights) if video_weights else {}
    content = official_file(state, kind.family, video)
    with staged(out.parent) as folder:
        save(content, folder / out.name)
    notes = []
    if kind.family == SAM2 and not video:
        notes.append(
            "without the entries of the video model: for sam2's own code, which asks for them, name an original file "
            "as --video-weights"
        )
    if not getattr(model.decode_head, "add_no_mem_embed", True):
        notes.append("trained with add_no_mem_embed=False: set directly_add_no_mem_embed to false in sam2's config")
    if kind.family == SAM and (size := model.backbone.img_size) != 1024:
        notes.append(
            f"position tables are those of {size} px: segment-anything's sam_model_registry builds models for 1024 px"
        )
    return Exported(out, len(state) + len(video), tuple(notes))


def _with_encoder(config: str | Path | Config, options: Mapping[str, Any] | None) -> Config:
    """Replace a ``CachedEncoder`` by its encoder, whose weights are in ``init_cfg`` and not in checkpoints."""
    cfg = config_of(config, options)
    backbone: Any = cfg.model.get("backbone") or {}
    if MODELS.get(str(backbone.get("type"))) is CachedEncoder:
        cfg.model.backbone = backbone.encoder
    return cfg


def _write_hub(model: nn.Module, kind: _Kind, state: Mapping[str, Tensor], out: Path) -> Exported:
    hub = kind.hub_model(model)
    hub.config.architectures = [type(hub).__name__]
    entries = hub_state(state, kind.family, hub.state_dict())
    with staged(out) as folder:
        hub.config.save_pretrained(folder)
        weights = folder / "model.safetensors"
        save_file(entries, weights, metadata={"format": "pt"})
        weights.chmod((folder / "config.json").stat().st_mode)  # safetensors keeps it from all but its owner
        text = json.dumps(kind.hub_preprocessor(model.backbone), indent=2, sort_keys=True)
        (folder / "preprocessor_config.json").write_text(text + "\n")
    return Exported(out, len(state), (f"for transformers: {type(hub).__name__}.from_pretrained({str(out)!r})",))


def _kind(model: nn.Module) -> _Kind:
    parts = [getattr(model, name, None) for name in ("backbone", "decode_head")]
    for kind in _KINDS:
        # A subclass may compute something else with the same entries.
        if [type(part) for part in parts] == [kind.backbone, kind.decode_head]:
            return kind
    named = " and ".join("nothing" if part is None else type(part).__name__ for part in parts)
    raise ConfigError(
        f"export: {type(model).__name__} consists of {named}; the published layouts hold SAMViT with SAMMaskDecoder, "
        "and SAM2Hiera with SAM2MaskDecoder: keep samplug's own checkpoint, which load_weights reads"
    )


def _merged_state(model: Any) -> dict[str, Tensor]:
    """Return all entries, with LoRA's updates added to the encoder's weights.

    Raises:
        ConfigError: Another adapter.
    """
    adapter = getattr(model, "adapter", None)
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("adapter.")}
    if adapter is None:
        return state
    if not isinstance(adapter, LoRAAdapter):
        raise ConfigError(
            f"export: {type(adapter).__name__} cannot be expressed in the weights of a plain encoder, as LoRA's "
            "updates can: keep samplug's own checkpoint, which load_weights reads"
        )
    for name, update in adapter.updates().items():
        state[f"backbone.{name}"] = state[f"backbone.{name}"] + update
    return state
