from samplug.models.decoders.feature_fusion import FeatureFusionDecoder

__all__ = ["FeatureFusionDecoder"]
