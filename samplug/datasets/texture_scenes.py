"""Dataset of generated scenes of several textures."""

from collections.abc import Sequence
from typing import Any

from samplug.datasets.generated import RegionDataset, Scene
from samplug.datasets.synthetic.texture_scenes import texture_scene
from samplug.datasets.texturing import MixedTextures, TextureBank, TextureSource, texture_source
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError


@DATASETS.register_module()
class TextureSceneDataset(RegionDataset):
    """Generated scenes of several textures, see :func:`texture_scene`.

    Each region is an instance for mmdet's pipelines. Samples contain ``img``, the label map ``generated_map`` and
    ``instances`` (see :class:`InstanceSegDataset`).

    Args:
        length: Number of scenes.
        size: Side of the square images in pixels.
        seed: Random seed of the sequence of scenes.
        textures: Folder of photographs, such as DTD's ``dtd/images``; None: generated textures.
        generated: Share of generated textures beside photographs, in [0, 1].
        regions: Smallest and largest number of regions; each number is three times as likely as the next one.
        bank: Number of different textures, see :class:`~samplug.datasets.texturing.TextureBank`; a scene then takes a
            third of the time. ``seed`` decides on them, so sets of other seeds have other textures, or other parts of
            the same photographs. 0: draw each texture anew.
        **kwargs: ``cache`` and the other arguments of :class:`GeneratedDataset`.

    Raises:
        ConfigError: ``length`` is below 1, or ``regions`` is not a range within 2 to 6, or ``bank`` is negative.
        DataError: ``textures`` contains no images.
    """

    def __init__(
        self,
        length: int,
        size: int = 128,
        seed: int = 0,
        textures: str | None = None,
        generated: float = 0.5,
        regions: Sequence[int] = (2, 3),
        bank: int = 1600,
        **kwargs: Any,
    ) -> None:
        if len(regions) != 2 or not 2 <= regions[0] <= regions[1] <= 6:
            raise ConfigError(f"TextureSceneDataset: regions={regions!r} is not a range within 2 to 6")
        self.regions = (regions[0], regions[1])
        if bank < 0:
            raise ConfigError(f"TextureSceneDataset: bank={bank!r} is negative: use a number of textures, or 0")
        source = MixedTextures(texture_source(textures), generated) if textures else texture_source(None)
        self.source: TextureSource = TextureBank(source, bank, seed=seed) if bank else source
        super().__init__(length, size, seed, **kwargs)

    def generate(self, index: int) -> Scene:
        return texture_scene(self.seed, index, self.size, self.source, self.regions)
