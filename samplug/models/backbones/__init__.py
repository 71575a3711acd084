from samplug.models.backbones.base import BlockTokens, Encoder, TokenTap, build_encoder
from samplug.models.backbones.cached import CachedEncoder
from samplug.models.backbones.clip_vit import CLIPViT
from samplug.models.backbones.dinov2_vit import DINOv2ViT
from samplug.models.backbones.sam2_hiera import SAM2Hiera
from samplug.models.backbones.sam_vit import SAMViT

__all__ = [
    "BlockTokens",
    "CLIPViT",
    "CachedEncoder",
    "DINOv2ViT",
    "Encoder",
    "SAM2Hiera",
    "SAMViT",
    "TokenTap",
    "build_encoder",
]
