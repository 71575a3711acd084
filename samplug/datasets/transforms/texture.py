"""Transform that replaces the surface of objects with textures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from samplug.datasets.texturing import Keep, apply_surfaces, check_options, draw_surfaces, texture_source
from samplug.registry import TRANSFORMS
from samplug.utils.errors import ConfigError, DataError


@TRANSFORMS.register_module()
class TextureAugment(BaseTransform):
    """Replace the surface of the objects in ``gt_masks`` with textures; changes only the pixels of ``img`` (uint8 BGR).

    It approximates TextureSAM's augmentation, which is a neural method, see :mod:`samplug.datasets.texturing`. Put it
    after loading the annotations and before colour transforms. ``tools/prepare_data.py texture-augment`` writes the
    same kind of images to disk.

    Args:
        degree: Weight of the texture in [0, 1], or (lowest, highest) for a uniform random weight per image.
            TextureSAM's mild set goes up to 0.3, the full set up to 1.
        textures: Folder of photographs, such as DTD's ``dtd/images``; None: generated textures.
        share: Probability that an object gets a texture.
        prob: Probability of changing an image.
        keep: See :func:`samplug.datasets.texturing.make_surface`.
        feather: See :func:`samplug.datasets.texturing.make_surface`.

    Raises:
        ConfigError: A value is out of range.
        DataError: ``textures`` contains no images, or a sample has no ``gt_masks``.
    """

    def __init__(
        self,
        degree: float | Sequence[float] = (0.0, 1.0),
        textures: str | None = None,
        share: float = 1.0,
        prob: float = 1.0,
        keep: Keep = "nothing",
        feather: float = 2.0,
    ) -> None:
        low, high = degree if isinstance(degree, Sequence) and len(degree) == 2 else (degree, degree)
        if isinstance(low, Sequence) or isinstance(high, Sequence) or not 0 <= low <= high <= 1:
            raise ConfigError(f"TextureAugment: degree={degree!r} is neither a number nor a range in [0, 1]")
        if not 0 <= prob <= 1:
            raise ConfigError(f"TextureAugment: prob={prob!r} is not in [0, 1]")
        check_options("TextureAugment", share, keep, feather)
        self.degree, self.share, self.prob, self.keep, self.feather = (low, high), share, prob, keep, feather
        self.textures = textures
        self.source = texture_source(textures)

    @cache_randomness
    def _random_seed(self) -> int | None:
        """Return a seed for all random numbers of an image; None to leave it unchanged."""
        return int(np.random.randint(2**31)) if np.random.rand() < self.prob else None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if "gt_masks" not in results:
            raise DataError(
                "TextureAugment: the sample has no gt_masks: put it after mmdet.LoadAnnotations(with_mask=True)"
            )
        seed = self._random_seed()
        if seed is None:
            return results
        rng = np.random.default_rng(seed)
        degree = rng.uniform(*self.degree)
        masks = [mask.astype(bool) for mask in results["gt_masks"].to_ndarray()]
        surfaces = draw_surfaces(
            results["img"], masks, self.source, [rng] * len(masks), self.share, self.keep, self.feather
        )
        results["img"] = apply_surfaces(results["img"], surfaces, degree)
        return results

    def __repr__(self) -> str:
        return (
            f"TextureAugment(degree={self.degree}, textures={self.textures!r}, share={self.share}, prob={self.prob}, "
            f"keep={self.keep!r}, feather={self.feather})"
        )
