"""Dataset of generated camouflage scenes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from samplug.datasets.synthetic import TEXTURES, camouflage_scene
from samplug.datasets.synthetic.camouflage import GROUND_TEXTURES, OBJECT_TEXTURES
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError, check_choice


@DATASETS.register_module()
class CamouflageSceneDataset(BaseDataset):
    """Binary segmentation data that is generated, not read from files, see :func:`camouflage_scene`.

    A scene is a function of (seed, index) and is generated when it is loaded. Scenes of all indexes have the same
    distribution, so different seeds, or different ranges of one seed, can serve as training and test sets.

    Args:
        length: Number of scenes.
        size: Side of the square images in pixels.
        seed: Seed of the sequence of scenes.
        ground_textures: See :func:`camouflage_scene`.
        object_textures: See :func:`camouflage_scene`.
        cache: Keep generated scenes in memory (28 KB each at 96 pixels).
        **kwargs: ``pipeline`` and the other arguments of MMEngine's ``BaseDataset``.

    Raises:
        ConfigError: ``length`` is below 1, or a texture is unknown.
    """

    METAINFO = dict(classes=("background", "foreground"), palette=[[0, 0, 0], [255, 255, 255]])

    def __init__(
        self,
        length: int,
        size: int = 128,
        seed: int = 0,
        ground_textures: Sequence[str] = GROUND_TEXTURES,
        object_textures: Sequence[str] = OBJECT_TEXTURES,
        cache: bool = False,
        **kwargs: Any,
    ) -> None:
        if length < 1:
            raise ConfigError(f"CamouflageSceneDataset: length={length!r} is not 1 or more")
        for textures in (ground_textures, object_textures):
            for texture in textures:
                check_choice("CamouflageSceneDataset", "texture", texture, tuple(TEXTURES))
        self.length = length
        self.size = size
        self.seed = seed
        self.textures = dict(ground_textures=ground_textures, object_textures=object_textures)
        self.cache: dict[int, tuple[np.ndarray, np.ndarray]] | None = {} if cache else None
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(img_path=f"scene_{self.seed}_{index:05d}.png", scene=index) for index in range(self.length)]

    def get_data_info(self, idx: int) -> dict[str, Any]:
        info = super().get_data_info(idx)
        image, mask = self._scene(info["scene"])
        return {**info, "img": image.copy(), "gt_seg_map": mask.copy(), "seg_fields": []}

    def _scene(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self.cache is not None and index in self.cache:
            return self.cache[index]
        scene = camouflage_scene(self.seed, index, self.size, **self.textures)
        if self.cache is not None:
            self.cache[index] = scene
        return scene
