"""Top-level keys of configs, and the places of others."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from samplug.utils.errors import ConfigError, did_you_mean
from samplug.utils.text import listed

# Keys that a Runner reads and a config need not declare: the parameters of MMEngine's Runner (a test compares them;
# importing it here would import torch), and what its other classes read.
RUNNER_KEYS = frozenset((
    "auto_scale_lr", "cfg", "custom_hooks", "data_preprocessor", "default_hooks", "default_scope", "env_cfg",
    "experiment_name", "launcher", "load_from", "log_level", "log_processor", "model", "optim_wrapper",
    "param_scheduler", "randomness", "resume", "test_cfg", "test_dataloader", "test_evaluator", "train_cfg",
    "train_dataloader", "val_cfg", "val_dataloader", "val_evaluator", "visualizer", "work_dir",
    "activation_checkpointing", "compile", "custom_imports", "efficient_conv_bn_eval", "find_unused_parameters",
    "model_wrapper_cfg", "overwrite_work_dir", "resume_fall_back", "resume_schedule", "runner_type", "strategy",
    "sync_bn", "tta_model", "tta_pipeline", "verbose",
))  # fmt: skip
# Settings whose default a config need not write down.
_KNOWN_PLACES = {
    "loss": "model.loss",
    "seed": "randomness.seed",
    "deterministic": "randomness.deterministic",
    "with_cp": "model.backbone.with_cp",
    "save_best": "default_hooks.checkpoint.save_best",
    "frozen": "model.backbone.frozen",
    "limit_gb": "model.backbone.limit_gb",
    "num_classes": "model.num_classes",
}


def check_names(cfg: Config, options: Iterable[str], path: Path) -> None:
    """Check that each option changes something: a variable of the config, or a key that a Runner reads.

    Args:
        cfg: The config.
        options: Dotted keys of ``--cfg-options``.
        path: File of the config, for messages.

    Raises:
        ConfigError: An option does not; places of the same name, or similar names, are given.
    """
    for key in options:
        top = key.split(".")[0]
        if top in cfg or top in RUNNER_KEYS:
            continue
        places = _places(cfg, top)
        hint = f"; it has {listed(places, 3)}" if places else did_you_mean(top, {*cfg.keys(), *RUNNER_KEYS})
        raise ConfigError(f"config: {path} declares no {top!r} (from --cfg-options {key}=...){hint}")


def _places(cfg: Config, key: str) -> list[str]:
    """Return the dotted places of a key in what a Runner reads, the shortest first; else a well-known place."""
    sections = {name: section for name, section in cfg.to_dict().items() if name in RUNNER_KEYS}
    places = [place for place in _dotted(sections) if place.rpartition(".")[2] == key]
    known = _KNOWN_PLACES.get(key, "")
    if not places and known.split(".")[0] in cfg:
        places = [known]
    return sorted(places, key=lambda place: place.count("."))


def _dotted(value: Any, place: str = "") -> Iterator[str]:
    """Yield the dotted keys within a value; those of pipelines, which nobody sets on a command line, are left out."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        here = f"{place}.{key}" if place else str(key)
        yield here
        if key != "pipeline":
            yield from _dotted(part, here)
