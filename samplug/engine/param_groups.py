"""Learning rates and weight decays of a model's parameters."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from samplug.utils.errors import ConfigError

_KEYS = frozenset({"custom_keys", "bias_decay_mult", "norm_decay_mult", "layer_decay"})
_MULTS = frozenset({"lr_mult", "decay_mult"})
# SAM 2 exempts nn.LayerNorm from weight decay by its exact type, so LayerNorm2d, which derives from it, is decayed.
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)
_WRAPPERS = re.compile(r"(?:^|\.)(?:_checkpoint_wrapped_module|_orig_mod)(?=\.|$)")


@dataclass(frozen=True)
class ScaledParameter:
    """A parameter of a model with its factors.

    Attributes:
        name: Name in the model's state dict.
        value: The parameter.
        lr_mult: Factor of the learning rate; 0 if it is frozen.
        decay_mult: Factor of the weight decay.
    """

    name: str
    value: nn.Parameter
    lr_mult: float
    decay_mult: float


def parameters_of(model: nn.Module, cfg: Mapping[str, Any]) -> list[ScaledParameter]:
    """List all parameters with their factors.

    A module may have a factor of the learning rate for its own parameters, ``lr_mult``, as :class:`ProbeHead` has.

    Args:
        model: Without a data-parallel wrapper.
        cfg: ``paramwise_cfg``, see :class:`samplug.engine.TrainableOptimWrapperConstructor`.

    Raises:
        ConfigError: An unknown key, a custom key that no trained parameter has, or a layer decay without a ``backbone``
            that has a ``depth``.
    """
    custom = _checked(cfg)
    bias, norm = cfg.get("bias_decay_mult", 1.0), cfg.get("norm_decay_mult", 1.0)
    layers = _LayerDecay(model, cfg["layer_decay"]) if cfg.get("layer_decay") else None
    found: list[ScaledParameter] = []
    used: set[str] = set()
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        is_norm = type(module) is nn.LayerNorm or isinstance(module, _NORMS)
        for last, value in module.named_parameters(recurse=False):
            if value in seen:  # shared by two modules
                continue
            seen.add(value)
            name = _WRAPPERS.sub("", f"{prefix}.{last}" if prefix else last).lstrip(".")
            key = next((key for key in custom if key in name), None)
            mults = custom[key] if key else {}
            lr, decay = mults.get("lr_mult", 1.0) * getattr(module, "lr_mult", 1.0), mults.get("decay_mult")
            if decay is None:
                decay = norm if is_norm else bias if last == "bias" else 1.0
            if layers:
                lr *= layers.factor(name)
            if value.requires_grad and key:
                used.add(key)
            found.append(ScaledParameter(name, value, lr if value.requires_grad else 0.0, decay))
    if unused := [key for key in custom if key not in used]:
        raise ConfigError(
            f"optimiser: {unused[0]!r} of paramwise_cfg.custom_keys applies to no trained parameter (none has it in "
            f"its name, or a longer key matches too): parts of the model are {', '.join(_parts(found))}"
        )
    return found


def param_groups(
    parameters: Iterable[ScaledParameter], lr: float | None, weight_decay: float | None
) -> list[dict[str, Any]]:
    """Group parameters by rate and decay; fused and foreach kernels are fastest with few large groups."""
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for parameter in parameters:
        if not parameter.value.requires_grad:
            continue
        group = groups.setdefault((parameter.lr_mult, parameter.decay_mult), {"params": []})
        group["params"].append(parameter.value)
        if lr is not None:
            group["lr"] = lr * parameter.lr_mult
        if weight_decay is not None:
            group["weight_decay"] = weight_decay * parameter.decay_mult
    return list(groups.values())


def training_table(parameters: Sequence[ScaledParameter], lr: float | None, weight_decay: float | None) -> str:
    """Return a table of the trained parameters with a line for each part of the model."""
    lines = [("part", "parameters", "trained", "lr", "weight decay")]
    for part in _parts(parameters):
        own = [parameter for parameter in parameters if _part(parameter.name) == part]
        lines.append(_line(part, own, lr, weight_decay))
    lines.append(_line("all", parameters, lr, weight_decay))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _line(
    part: str, parameters: Sequence[ScaledParameter], lr: float | None, weight_decay: float | None
) -> tuple[str, str, str, str, str]:
    trained = [parameter for parameter in parameters if parameter.value.requires_grad]
    return (
        part,
        f"{sum(parameter.value.numel() for parameter in parameters):,}",
        f"{sum(parameter.value.numel() for parameter in trained):,}" if trained else "frozen",
        _range(lr, [parameter.lr_mult for parameter in trained]),
        _range(weight_decay, [parameter.decay_mult for parameter in trained]),
    )


def _range(base: float | None, mults: Sequence[float]) -> str:
    if base is None or not mults:
        return "-"
    values = [f"{base * mult:.3g}" for mult in (min(mults), max(mults))]
    return values[0] if values[0] == values[1] else " to ".join(values)


def _parts(parameters: Iterable[ScaledParameter]) -> list[str]:
    return list(dict.fromkeys(_part(parameter.name) for parameter in parameters))


def _part(name: str) -> str:
    """Return the first two names of a parameter's path."""
    return ".".join(name.split(".")[:2])


def _checked(cfg: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Check ``paramwise_cfg`` and return its custom keys, the longest first, since the longest match applies."""
    if unknown := set(cfg) - _KEYS:
        raise ConfigError(
            f"optimiser: paramwise_cfg has the unknown key {min(unknown)!r}: use {', '.join(sorted(_KEYS))}, or "
            f"constructor='DefaultOptimWrapperConstructor' for MMEngine's"
        )
    custom = cfg.get("custom_keys", {})
    for key, mults in custom.items():
        if not isinstance(mults, Mapping) or not set(mults) <= _MULTS:
            raise ConfigError(
                f"optimiser: paramwise_cfg.custom_keys[{key!r}] is {mults!r}: use {', '.join(sorted(_MULTS))}"
            )
    rate = cfg.get("layer_decay")
    if rate is not None and not 0 < rate <= 1:
        raise ConfigError(f"optimiser: layer_decay={rate} is not in (0, 1]")
    return {key: custom[key] for key in sorted(sorted(custom), key=len, reverse=True)}


class _LayerDecay:
    """Factors of the learning rate that decrease from an encoder's last block to its patch embedding."""

    def __init__(self, model: nn.Module, rate: float) -> None:
        depth = getattr(getattr(model, "backbone", None), "depth", None)
        if depth is None:
            raise ConfigError(
                f"optimiser: layer_decay needs an encoder with blocks, {type(model).__name__} has no backbone with a "
                "depth: leave it out"
            )
        self.rate, self.depth = rate, depth

    def factor(self, name: str) -> float:
        if not name.startswith("backbone.") or name.rpartition(".")[2].startswith("pos_embed"):
            return 1.0
        if block := re.search(r"\.blocks\.(\d+)\.", name):
            return float(self.rate ** (self.depth - int(block[1])))
        return float(self.rate ** (self.depth + 1)) if ".patch_embed." in name else 1.0
