"""Build a model with its weights, ready to predict."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope

from samplug.config import RUNNER_KEYS, load_config
from samplug.engine.build_errors import named_in
from samplug.engine.weights import load_for_evaluation
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError


def config_of(config: str | Path | Config, cfg_options: Mapping[str, Any] | None = None) -> Config:
    """Load a config, or copy a loaded one, with options; arguments as of :func:`init_model`.

    Raises:
        ConfigError: See :func:`samplug.config.load_config`; or an option names a variable of a loaded config, where it
            would have no effect.
    """
    if not isinstance(config, Config):
        return load_config(config, cfg_options)
    options = dict(cfg_options or {})
    for key in options:
        if "." not in key and key not in RUNNER_KEYS:
            raise ConfigError(
                f"config: cfg_options {key}=... would change a variable of a config that is loaded already: give "
                "init_model the file's name, or load_config(file, options)"
            )
    cfg = copy.deepcopy(config)
    cfg.merge_from_dict(options)
    return cfg


def init_model(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> BaseModel:
    """Build a config's model and load weights by the rule of the command ``test``.

    Args:
        config: A loaded config, or the path or name of one, see :func:`samplug.config.load_config`.
        checkpoint: Path, https address or ``hf://...``. None or ``'none'``: the weights of ``init_cfg``.
            ``'untrained'``: random weights.
        device: torch device; None: the GPU, or the CPU if there is none.
        cfg_options: Changes to the config, as ``--cfg-options``; for a loaded config only dotted keys and keys of the
            Runner.

    Returns:
        The model in evaluation mode; ``model.cfg`` is the config.

    Raises:
        ConfigError: The config does not exist, an option is unknown, or the model cannot be built.
        WeightsError: A parameter has no weights, or the checkpoint cannot be read safely or does not fit.
    """
    cfg = config_of(config, cfg_options)
    init_default_scope(cfg.get("default_scope", "samplug"))
    with named_in(cfg):
        model = MODELS.build(cfg.model)
    load_for_evaluation(model, None if checkpoint is None else str(checkpoint))
    model.cfg = cfg
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
