"""Dataset of generated camouflage scenes."""

from collections.abc import Sequence
from typing import Any

from samplug.datasets.generated import GeneratedDataset, Scene
from samplug.datasets.synthetic import TEXTURES, camouflage_scene
from samplug.datasets.synthetic.camouflage import GROUND_TEXTURES, OBJECT_TEXTURES
from samplug.registry import DATASETS
from samplug.utils.errors import check_choice


@DATASETS.register_module()
class CamouflageSceneDataset(GeneratedDataset):
    """Generated scenes for binary segmentation, see :func:`camouflage_scene`.

    Args:
        length: Number of scenes.
        size: Side of the square images in pixels.
        seed: Random seed of the sequence of scenes.
        ground_textures: See :func:`camouflage_scene`.
        object_textures: See :func:`camouflage_scene`.
        **kwargs: ``cache`` and the other arguments of :class:`GeneratedDataset`.

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
        **kwargs: Any,
    ) -> None:
        for textures in (ground_textures, object_textures):
            for texture in textures:
                check_choice("CamouflageSceneDataset", "texture", texture, tuple(TEXTURES))
        self.textures = dict(ground_textures=ground_textures, object_textures=object_textures)
        super().__init__(length, size, seed, **kwargs)

    def generate(self, index: int) -> Scene:
        return camouflage_scene(self.seed, index, self.size, **self.textures)
