"""Dataset of generated scenes of several textures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from samplug.datasets.generated import GeneratedDataset, Scene
from samplug.datasets.synthetic.texture_scenes import texture_scene
from samplug.datasets.texturing import MixedTextures, texture_source
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError
from samplug.utils.rle import from_labels


@DATASETS.register_module()
class TextureSceneDataset(GeneratedDataset):
    """Generated scenes of several textures, see :func:`texture_scene`.

    Each region is an instance for mmdet's pipelines. Samples contain ``img``, the label map ``gt_seg_map`` and
    ``instances`` (see :class:`InstanceSegDataset`).

    Args:
        length: Number of scenes.
        size: Side of the square images in pixels.
        seed: Random seed of the sequence of scenes.
        textures: Folder of photographs, such as DTD's ``dtd/images``; None: generated textures.
        generated: Share of generated textures beside photographs, in [0, 1].
        regions: Smallest and largest number of regions.
        **kwargs: ``cache`` and the other arguments of :class:`GeneratedDataset`.

    Raises:
        ConfigError: ``length`` is below 1, or ``regions`` is not a range within 2 to 6.
        DataError: ``textures`` contains no images.
    """

    METAINFO = dict(classes=("object",), palette=[[220, 20, 60]])

    def __init__(
        self,
        length: int,
        size: int = 128,
        seed: int = 0,
        textures: str | None = None,
        generated: float = 0.5,
        regions: Sequence[int] = (2, 3),
        **kwargs: Any,
    ) -> None:
        if len(regions) != 2 or not 2 <= regions[0] <= regions[1] <= 6:
            raise ConfigError(f"TextureSceneDataset: regions={regions!r} is not a range within 2 to 6")
        self.regions = (regions[0], regions[1])
        self.source = MixedTextures(texture_source(textures), generated) if textures else texture_source(None)
        super().__init__(length, size, seed, **kwargs)

    def generate(self, index: int) -> Scene:
        return texture_scene(self.seed, index, self.size, self.source, self.regions)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        info = super().get_data_info(idx)
        masks = from_labels(info["gt_seg_map"].astype(np.int64) + 1)
        info["height"], info["width"] = info["gt_seg_map"].shape
        info["img_id"] = info["scene"]
        info["instances"] = []
        for mask in masks.values():
            x, y, width, height = coco_mask.toBbox(mask).tolist()
            box = [x, y, x + width, y + height]
            info["instances"].append(dict(bbox=box, bbox_label=0, mask=mask, ignore_flag=0))
        return info
