from samplug.models.losses.binary import BalancedBCELoss, BCEIoULoss, OriginalBCEIoULoss
from samplug.models.losses.multi_class import CrossEntropyLoss
from samplug.models.losses.prompted import SAM2PromptedLoss

__all__ = ["BCEIoULoss", "BalancedBCELoss", "CrossEntropyLoss", "OriginalBCEIoULoss", "SAM2PromptedLoss"]
