from samplug.models.backbones.sam_vit import SAMViT, TokenTap

__all__ = ["SAMViT", "TokenTap"]
