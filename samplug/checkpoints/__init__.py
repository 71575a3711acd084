from samplug.checkpoints.errors import UnsafeCheckpointError, WeightsError
from samplug.checkpoints.families import state_dict_of
from samplug.checkpoints.files import fetch, read_checkpoint
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

__all__ = [
    "EmptyStateError",
    "LoadReport",
    "StrictPretrainedInit",
    "UnsafeCheckpointError",
    "WeightsError",
    "digest",
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
