from samplug.models.decoders.base import ImageMemory, Masks
from samplug.models.decoders.feature_fusion import FeatureFusionDecoder
from samplug.models.decoders.sam2_mask_decoder import SAM2MaskDecoder
from samplug.models.decoders.sam_mask_decoder import SAMMaskDecoder

__all__ = ["FeatureFusionDecoder", "ImageMemory", "Masks", "SAM2MaskDecoder", "SAMMaskDecoder"]
