from samplug.models.losses.binary import BalancedBCELoss, BCEIoULoss, OriginalBCEIoULoss
from samplug.models.losses.multi_class import CrossEntropyLoss

__all__ = ["BCEIoULoss", "BalancedBCELoss", "CrossEntropyLoss", "OriginalBCEIoULoss"]
