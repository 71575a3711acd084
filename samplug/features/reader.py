"""Read stored feature maps in data workers."""

from collections.abc import Mapping
from typing import Any

from mmengine.structures import BaseDataElement
from torch import Tensor

from samplug.checkpoints import digest
from samplug.features.store import FeatureStore


def pixel_key(image: Tensor, settings: str) -> str:
    """Return the key of an image in a store.

    Args:
        image: (3, H, W), as it comes out of the pipeline.
        settings: Normalisation and padding that follow, as text; the encoder's input depends on them too.
    """
    return digest({settings: image}, [settings])


class FeatureReader:
    """Dataset step that looks up each sample's maps, so that hashing and reading overlap with the training process.

    ``sample.pixels`` becomes the key of the image, and ``sample.encoder_maps`` its maps if the store has them.

    Args:
        store: Store of the maps.
        settings: Normalisation, see :func:`pixel_key`.
    """

    def __init__(self, store: FeatureStore, settings: str) -> None:
        self.store = store
        self.settings = settings

    def __call__(self, item: Any) -> None:
        """Complete a dataset's item ``dict(inputs=image (3, H, W), data_samples=sample)``; leave others as they are."""
        sample = item.get("data_samples") if isinstance(item, Mapping) else None
        if not isinstance(sample, BaseDataElement):
            return
        key = pixel_key(item["inputs"], self.settings)
        sample.set_metainfo(dict(pixels=key))
        maps = self.store.read(key)
        if maps is not None:
            set_maps(sample, maps)


def set_maps(sample: BaseDataElement, maps: tuple[Tensor, ...]) -> None:
    """Put an image's maps (C, h, w) into its sample, which takes them to the device."""
    sample.encoder_maps = BaseDataElement(**{f"level{level}": value for level, value in enumerate(maps)})


def take_maps(sample: BaseDataElement) -> tuple[Tensor, ...] | None:
    """Take the maps of :func:`set_maps` out of a sample, so that memory is freed; None: it has none."""
    maps = sample.pop("encoder_maps", None)
    return None if maps is None else tuple(maps.get(f"level{level}") for level in range(len(maps.keys())))
