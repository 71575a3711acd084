from samplug.models import adapters, backbones, decoders, losses, prompts
from samplug.models.data_preprocessor import LetterboxPreProcessor
from samplug.models.image_embedding import ImageEmbedding
from samplug.models.probe import LinearProbe, ProbePreProcessor
from samplug.models.promptable import PromptableSAM
from samplug.models.prompts import Prompts
from samplug.models.segmentor import SAMSegmentor
from samplug.models.ts_sam import TSSAM
from samplug.models.tta import SegTTAModel

__all__ = [
    "TSSAM",
    "ImageEmbedding",
    "LetterboxPreProcessor",
    "LinearProbe",
    "ProbePreProcessor",
    "PromptableSAM",
    "Prompts",
    "SAMSegmentor",
    "SegTTAModel",
    "adapters",
    "backbones",
    "decoders",
    "losses",
    "prompts",
]
