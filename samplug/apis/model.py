"""A model with its weights, ready to predict."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope

from samplug.config import load_config
from samplug.engine.build_errors import named_in
from samplug.engine.weights import load_for_evaluation
from samplug.registry import MODELS


def config_of(config: str | Path | Config, cfg_options: Mapping[str, Any] | None = None) -> Config:
    """A config, or a copy of one that is there already, with options; arguments as :func:`init_model`'s."""
    if not isinstance(config, Config):
        return load_config(config, cfg_options)
    cfg = copy.deepcopy(config)
    if cfg_options:
        cfg.merge_from_dict(dict(cfg_options))
    return cfg


def init_model(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> BaseModel:
    """Build a config's model and load weights by the rule of ``tools/test.py``.

    Args:
        config: A config, or what :func:`samplug.config.load_config` takes.
        checkpoint: Path, https address or ``hf://...``; None or ``'none'``: what ``init_cfg`` supplies; ``'untrained'``: random weights.
        device: None: the GPU, or the CPU where there is none.
        cfg_options: Changes of the config, as ``--cfg-options``; merged into a ``Config`` as MMEngine does, whose variables have
            had their effect.

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
