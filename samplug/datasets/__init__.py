"""Datasets and their transforms.

Names are imported on first use, so that code that only reads files imports neither torch nor MMEngine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from samplug.utils.errors import DataError

if TYPE_CHECKING:
    from samplug.datasets.binary_seg import BinarySegDataset
    from samplug.datasets.bsds import BSDSCropDataset
    from samplug.datasets.camouflage import CamouflageSceneDataset
    from samplug.datasets.image_folder import ImageFolderDataset
    from samplug.datasets.instance_seg import InstanceSegDataset
    from samplug.datasets.paired import PairedDataset
    from samplug.datasets.sa1b import SA1BDataset
    from samplug.datasets.texture_scenes import TextureSceneDataset
    from samplug.datasets.texture_seg import TextureSegDataset
    from samplug.datasets.video_folder import VideoFolderDataset

_MODULES = {
    "BSDSCropDataset": "bsds",
    "BinarySegDataset": "binary_seg",
    "CamouflageSceneDataset": "camouflage",
    "ImageFolderDataset": "image_folder",
    "InstanceSegDataset": "instance_seg",
    "PairedDataset": "paired",
    "SA1BDataset": "sa1b",
    "TextureSceneDataset": "texture_scenes",
    "TextureSegDataset": "texture_seg",
    "VideoFolderDataset": "video_folder",
}

__all__ = [
    "BSDSCropDataset",
    "BinarySegDataset",
    "CamouflageSceneDataset",
    "DataError",
    "ImageFolderDataset",
    "InstanceSegDataset",
    "PairedDataset",
    "SA1BDataset",
    "TextureSceneDataset",
    "TextureSegDataset",
    "VideoFolderDataset",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
