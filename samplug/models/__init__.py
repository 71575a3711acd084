from samplug.models import adapters, backbones, decoders, losses
from samplug.models.ts_sam import TSSAM

__all__ = ["TSSAM", "adapters", "backbones", "decoders", "losses"]
