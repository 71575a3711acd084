from samplug.models import adapters, backbones, decoders, losses
from samplug.models.data_preprocessor import LetterboxPreProcessor
from samplug.models.ts_sam import TSSAM

__all__ = ["TSSAM", "LetterboxPreProcessor", "adapters", "backbones", "decoders", "losses"]
