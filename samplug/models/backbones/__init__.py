from samplug.models.backbones.cached import CachedEncoder
from samplug.models.backbones.sam2_hiera import SAM2Hiera
from samplug.models.backbones.sam_vit import SAMViT, TokenTap

__all__ = ["CachedEncoder", "SAM2Hiera", "SAMViT", "TokenTap"]
