from samplug.checkpoints.contents import state_dict_of
from samplug.checkpoints.errors import UnsafeCheckpointError, WeightsError
from samplug.checkpoints.files import read_checkpoint
from samplug.checkpoints.filled import EmptyStateError, filled_names, require_filled
from samplug.checkpoints.initializer import StrictPretrainedInit
from samplug.checkpoints.loading import (
    LoadReport,
    digest,
    load_pretrained,
    load_state,
    load_weights,
    outside_state,
    pretrained_config,
    pretrained_names,
)
from samplug.checkpoints.sources import fetch
from samplug.checkpoints.stored_configs import drop_code_in_config

__all__ = [
    "EmptyStateError",
    "LoadReport",
    "StrictPretrainedInit",
    "UnsafeCheckpointError",
    "WeightsError",
    "digest",
    "drop_code_in_config",
    "fetch",
    "filled_names",
    "load_pretrained",
    "load_state",
    "load_weights",
    "outside_state",
    "pretrained_config",
    "pretrained_names",
    "read_checkpoint",
    "require_filled",
    "state_dict_of",
]
