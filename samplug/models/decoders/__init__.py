from samplug.models.decoders.feature_fusion import FeatureFusionDecoder
from samplug.models.decoders.sam_mask_decoder import SAMMaskDecoder

__all__ = ["FeatureFusionDecoder", "SAMMaskDecoder"]
