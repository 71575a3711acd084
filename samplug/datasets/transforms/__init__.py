from samplug.datasets.transforms.colour import ColorJitter, RandomGaussianBlur
from samplug.datasets.transforms.formatting import PackClassInputs, PackSegInputs
from samplug.datasets.transforms.geometry import RandomRotateShear
from samplug.datasets.transforms.loading import LoadBinaryMask, LoadImage, LoadRegionMap
from samplug.datasets.transforms.resizing import RandomResizedCrop, ResizeShortSide
from samplug.datasets.transforms.texture import TextureAugment

__all__ = [
    "ColorJitter",
    "LoadBinaryMask",
    "LoadImage",
    "LoadRegionMap",
    "PackClassInputs",
    "PackSegInputs",
    "RandomGaussianBlur",
    "RandomResizedCrop",
    "RandomRotateShear",
    "ResizeShortSide",
    "TextureAugment",
]
