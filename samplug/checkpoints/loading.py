"""Load weights into modules strictly."""

import hashlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from samplug.checkpoints import clip_names, dinov2_names
from samplug.checkpoints.contents import check_values, is_finite, state_dict_of
from samplug.checkpoints.errors import WeightsError
from samplug.checkpoints.families import describe, readings, recognise, unwrapped
from samplug.checkpoints.files import read_checkpoint
from samplug.checkpoints.filled import filled_names, fits_filled, resize_buffers
from samplug.checkpoints.sources import fetch
from samplug.utils.text import listed

_LISTED = 8


@dataclass
class LoadReport:
    """Result of :func:`load_weights` by names of the module's state dict; shapes are (in the file, in the module)."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.misshaped)


def load_weights(module: nn.Module, source: str, strict: bool = True, prefix: str | None = None) -> LoadReport:
    """Load a weight file into a module.

    Files of SAM, SAM 2 and 2.1, DINOv2 and CLIP (official and Hugging Face), TS-SAM as released, and samplug are
    recognised by their keys. A part of one of these models, such as :class:`SAMViT`, takes its own entries and ignores
    the others. Entries of a SAM 2 file that only video needs are ignored too, as are those of DINOv2's training and of
    CLIP's text part. Position tables of another input size are resized, see :meth:`SAMViT.adapt_state`. Buffers that
    are filled from data may be missing or have another first dimension, see :mod:`samplug.checkpoints.filled`.

    A prefix that all entries share (DataParallel's ``module.``, Lightning's ``model.``) is removed if the entries fit
    without it; the prefix of ``torch.compile`` (``_orig_mod.``) is always removed.

    Args:
        module: Any module; samplug's own name their part of a model (``checkpoint_part``).
        source: Path, http(s) address or ``hf://...``, see :func:`fetch`.
        strict: True: every entry of the module must be in the file with its shape, and every entry of the file must be
            used. False: load the entries that fit and log the others.
        prefix: Take only the file's entries under this prefix.

    Returns:
        The names that were loaded, missing, unexpected, misshaped and resized.

    Raises:
        WeightsError: The file cannot be fetched or read; it does not fit and ``strict`` is True; an entry is not a
            dense tensor, is not finite, or has another kind of dtype than the module. Nothing is loaded.
    """
    checkpoint = read_checkpoint(fetch(source))
    return load_state(module, state_dict_of(checkpoint, str(source)), str(source), strict=strict, prefix=prefix)


def load_state(
    module: nn.Module,
    state: Mapping[str, Tensor],
    origin: str,
    strict: bool = True,
    prefix: str | None = None,
    may_miss: Set[str] = frozenset(),
) -> LoadReport:
    """Load tensors into a module, see :func:`load_weights`.

    Args:
        module: See :func:`load_weights`.
        state: Tensors in any known layout.
        origin: Source of the tensors, for messages.
        strict: See :func:`load_weights`.
        prefix: See :func:`load_weights`.
        may_miss: Names of the module that need not be in ``state``.
    """
    module = getattr(module, "_orig_mod", module)  # torch.compile's
    own, filled = module.state_dict(), filled_names(module)
    removed, fitted = _to_module_names(module, state, set(own), prefix)
    _leave_out_outside(module, fitted, origin)
    report = LoadReport()
    masks = {name for name, value in module.named_buffers() if not value.is_meta and not is_finite(value)}
    usable = {name: (value, own[name]) for name, value in fitted.items() if isinstance(own.get(name), Tensor)}
    check_values(usable, origin, may_be_infinite=masks)
    fitted = _adapt_sizes(module, fitted, report)
    accepted: dict[str, Tensor] = {}
    for name, value in fitted.items():
        if name not in own:
            report.unexpected.append(name)
        elif value.shape != own[name].shape and not (name in filled and fits_filled(value, own[name])):
            report.misshaped[name] = (tuple(value.shape), tuple(own[name].shape))
        else:
            accepted[name] = value
    report.loaded = list(accepted)
    report.missing = [name for name in own if name not in fitted and name not in filled | may_miss]
    if not report.fits:
        message = _explain(module, report, state, origin)
        if strict:
            raise WeightsError(message)
        print_log(message, logger="current", level=30)
    if removed:
        print_log(f"{origin}: the entries are read without the prefix {removed!r}", logger="current")
    resize_buffers(module, accepted, filled & accepted.keys())
    module.load_state_dict(accepted, strict=False)
    if report.resized:
        sizes = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in list(report.resized.items())[:2])
        print_log(f"{origin}: {len(report.resized)} position tables resized ({sizes}, ...)", logger="current")
    return report


def _to_module_names(
    module: nn.Module, state: Mapping[str, Tensor], own: Set[str], prefix: str | None
) -> tuple[str, dict[str, Tensor]]:
    """Return the names under which a file fits a module best, and the prefix that was removed."""
    if prefix:
        prefix = prefix.rstrip(".") + "."
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    found = [(removed, names) for removed, plain in readings(state) for names in (_renamed(module, plain), plain)]
    # A file may already have the module's own names, possibly beside entries of other parts: take the better fit.
    return max(found, key=lambda reading: (len(own & set(reading[1])), -len(reading[1])))


def _renamed(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries under samplug's names, limited to the module's part."""
    family = recognise(state)
    if family is None or family.rename is None:
        return state
    renamed = family.convert(state)
    part = getattr(module, "checkpoint_part", None)
    if part is None:
        return renamed
    return {key.removeprefix(f"{part}."): value for key, value in renamed.items() if key.startswith(f"{part}.")}


def outside_state(module: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Return entries with these names that modules keep outside their state dict.

    A module returns them by a method ``outside_state()``, such as that of a ``CachedEncoder`` for its encoder.
    """
    found: dict[str, Tensor] = {}
    for path, child in module.named_modules():
        head = f"{path}." if path else ""
        wanted = {name for name in names if name.startswith(head)}
        if wanted and hasattr(child, "outside_state"):
            found |= {head + key: value for key, value in child.outside_state().items() if head + key in wanted}
    return found


def _leave_out_outside(module: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """Remove entries that the module keeps outside its state dict; raise a WeightsError if their values differ."""
    for name, value in outside_state(module, state.keys() - module.state_dict().keys()).items():
        given = state.pop(name)
        if given.shape != value.shape or not torch.equal(given.to(value), value):
            raise WeightsError(
                f"weights: {origin} was made with another encoder than the one whose maps {type(module).__name__} "
                f"reads ({name} differs): set encoder.init_cfg.checkpoint to the file used in training, or take a "
                "config without a cache"
            )


def _adapt_sizes(module: nn.Module, state: dict[str, Tensor], report: LoadReport) -> dict[str, Tensor]:
    for name, child in module.named_modules():
        if not hasattr(child, "adapt_state"):
            continue
        head = f"{name}." if name else ""
        of_child = {key.removeprefix(head): value for key, value in state.items() if key.startswith(head)}
        adapted = child.adapt_state(of_child)
        for key in of_child.keys() - adapted.keys():
            del state[head + key]
        for key, value in adapted.items():
            full = head + key
            if value is not state[full]:
                report.resized[full] = (tuple(state[full].shape), tuple(value.shape))
                state[full] = value
    return state


def _explain(module: nn.Module, report: LoadReport, state: Mapping[str, Tensor], origin: str) -> str:
    lines = [
        f"weights: {origin} does not fit {type(module).__name__}; the file looks like {describe(state)}, "
        f"and {len(report.loaded)} of {len(report.loaded) + len(report.missing) + len(report.misshaped)} entries match"
    ]
    lines += _listing("missing in the file", report.missing)
    lines += _listing("unexpected in the file", report.unexpected)
    shapes = [f"{name}: file {old}, module {new}" for name, (old, new) in report.misshaped.items()]
    lines += _listing("of another shape", shapes)
    lines.append(f"  fix: {_advice(module, report, state)}")
    return "\n".join(lines)


def _listing(title: str, names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"  {len(names)} {title}: {listed(names, _LISTED)}"]


def _advice(module: nn.Module, report: LoadReport, state: Mapping[str, Tensor]) -> str:
    if head := _part_that_fits(module, state):
        return (
            f"its entries under {head!r} fit: set prefix={head!r} beside the checkpoint in init_cfg, or save them alone"
        )
    family = recognise(unwrapped(state))
    lacking = any(name.startswith(("adapter.", "decode_head.")) for name in report.missing)
    if family is not None and family.name.startswith(("SAM (", "SAM 2")) and lacking:
        return (
            "a SAM file has no adapter, and no decoder but SAM's own: set it as init_cfg of model.backbone (and of a "
            "SAMMaskDecoder or SAM2MaskDecoder), not of the whole model"
        )
    if family is not None and family.name.startswith("DINOv2"):
        return dinov2_names.advice(unwrapped(state), module.state_dict(), report.missing, report.unexpected)
    if family is not None and family.name.startswith("CLIP") and family.rename is not None:
        return clip_names.advice(module.state_dict(), report.missing)
    if report.misshaped and not report.missing and not report.unexpected:
        return (
            "build the module with the file's sizes (arch, side_channels, num_classes, poolings), or take the file of "
            "this size"
        )
    if family is not None and family.rename is None:
        return f"this module cannot take {family.name} weights; choose a file made for it"
    in_file = [*report.loaded, *report.misshaped, *report.unexpected]
    for found, names, others in (("holds", report.unexpected, module.state_dict()), ("lacks", report.missing, in_file)):
        if parts := _parts(names) - _parts(others):
            return (
                f"the file {found} {', '.join(sorted(parts))}, unlike this {type(module).__name__}: take the config "
                "that it was trained with"
            )
    return "check that config and file belong together (arch, adapter, use_fft, num_classes)"


def _part_that_fits(module: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """Return a prefix whose entries alone are all that the module needs, and no more."""
    own, filled = set(module.state_dict()), filled_names(module)
    heads = dict.fromkeys(key.partition(".")[0] for key in state if "." in key)
    names = {head: set(_to_module_names(module, state, own - filled, head)[1]) for head in heads}
    return next((head for head in heads if own - filled <= names[head] <= own), None)


def _parts(names: Iterable[str]) -> set[str]:
    """Return the first parts of dotted names: modules, not single parameters."""
    return {name.split(".")[0] for name in names if "." in name}


def pretrained_config(module: nn.Module) -> dict[str, Any] | None:
    """Return the ``Pretrained`` entry of a module's ``init_cfg``, if it has one."""
    init_cfg = getattr(module, "init_cfg", None)
    entries = init_cfg if isinstance(init_cfg, list) else [init_cfg]
    return next((entry for entry in entries if isinstance(entry, Mapping) and entry.get("type") == "Pretrained"), None)  # type: ignore[return-value]


def pretrained_names(model: nn.Module) -> set[str]:
    """Return the names of the state dict that ``Pretrained`` configs of the model and its modules supply."""
    return {
        f"{name}.{key}" if name else key
        for name, module in model.named_modules()
        if pretrained_config(module) is not None
        for key in module.state_dict()
    }


def load_pretrained(model: nn.Module) -> set[str]:
    """Load all ``Pretrained`` configs of the model, inner modules first, and return the names that they supply."""
    for _, module in reversed(list(model.named_modules())):
        config = pretrained_config(module)
        if config is not None:
            load_weights(module, config["checkpoint"], prefix=config.get("prefix"))
    return pretrained_names(model)


@torch.no_grad()
def digest(tensors: Mapping[str, Tensor], names: Iterable[str]) -> str:
    """Return the sha256 of the names, shapes, dtypes and bytes of the named tensors."""
    sha = hashlib.sha256()
    for name in sorted(names):
        value = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        sha.update(value.view(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
