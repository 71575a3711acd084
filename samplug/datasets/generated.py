"""Base class of datasets of generated scenes."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from numpy.typing import NDArray

from samplug.utils.errors import ConfigError
from samplug.utils.rle import from_labels, rle_box

Scene = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Image (size, size, 3) uint8 BGR and label map (size, size) uint8."""


class GeneratedDataset(BaseDataset, ABC):
    """Base class of datasets of generated scenes.

    A scene is a function of (seed, index), and is generated when it is loaded. All scenes have the same distribution,
    so training and test sets can use different seeds, or different index ranges of one seed.

    Args:
        length: Number of scenes.
        size: Side of the square images in pixels.
        seed: Random seed of the sequence of scenes.
        cache: Keep generated scenes in memory (28 KB each at 96 pixels).
        **kwargs: ``pipeline`` and the other arguments of MMEngine's ``BaseDataset``.

    Raises:
        ConfigError: ``length`` is below 1.
    """

    STEM = "scene"
    """Start of the names of the samples."""

    def __init__(self, length: int, size: int = 128, seed: int = 0, cache: bool = False, **kwargs: Any) -> None:
        if length < 1:
            raise ConfigError(f"{type(self).__name__}: length={length!r} must be at least 1")
        self.length, self.size, self.seed = length, size, seed
        self.cache: dict[int, Scene] | None = {} if cache else None
        super().__init__(**kwargs)

    @abstractmethod
    def generate(self, index: int) -> Scene:
        """Generate the scene of an index."""

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(img_path=f"{self.STEM}_{self.seed}_{index:05d}.png", scene=index) for index in range(self.length)]

    def get_data_info(self, idx: int) -> dict[str, Any]:
        info = super().get_data_info(idx)
        image, labels = self._scene(info["scene"])
        shape = labels.shape
        info = {**info, "img": image.copy(), "img_shape": shape, "ori_shape": shape}
        # Under a name of its own until a transform loads it: flips would silently leave out a map not in seg_fields.
        return {**info, "generated_map": labels.copy(), "seg_fields": []}

    def _scene(self, index: int) -> Scene:
        if self.cache is not None and index in self.cache:
            return self.cache[index]
        scene = self.generate(index)
        if self.cache is not None:
            self.cache[index] = scene
        return scene


class RegionDataset(GeneratedDataset):
    """Base class of datasets of generated label maps, every region of which is an instance for mmdet's pipelines.

    Samples contain ``img``, the label map ``generated_map`` for :class:`LoadRegionMap`, and ``instances`` (see
    :class:`InstanceSegDataset`), so a pipeline needs no ``LoadImage``.
    """

    METAINFO = dict(classes=("object",), palette=[[220, 20, 60]])

    def get_data_info(self, idx: int) -> dict[str, Any]:
        info = super().get_data_info(idx)
        info["height"], info["width"] = info["generated_map"].shape
        info["img_id"] = info["scene"]
        info["instances"] = []
        for mask in from_labels(info["generated_map"].astype(np.int64) + 1).values():
            x, y, width, height = rle_box(mask)
            box = [float(edge) for edge in (x, y, x + width, y + height)]
            info["instances"].append(dict(bbox=box, bbox_label=0, mask=mask, ignore_flag=0))
        return info
