from samplug.models.decoders.feature_fusion import FeatureFusionDecoder
from samplug.models.decoders.sam_mask_decoder import Masks, SAMMaskDecoder

__all__ = ["FeatureFusionDecoder", "Masks", "SAMMaskDecoder"]
