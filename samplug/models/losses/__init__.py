"""Losses, registered in MODELS under the names that ``loss=`` of a model takes."""

from typing import Any

from samplug.models.losses.binary import BalancedBCELoss, BCEIoULoss, OriginalBCEIoULoss
from samplug.models.losses.multi_class import CrossEntropyLoss
from samplug.models.losses.prompted import SAM2PromptedLoss
from samplug.registry import MODELS

__all__ = [
    "BCEIoULoss",
    "BalancedBCELoss",
    "CrossEntropyLoss",
    "OriginalBCEIoULoss",
    "SAM2PromptedLoss",
    "build_loss",
]


def build_loss(loss: str | dict[str, Any]) -> Any:
    """Build a loss from its registered name or its config."""
    return MODELS.build(dict(type=loss) if isinstance(loss, str) else loss)
