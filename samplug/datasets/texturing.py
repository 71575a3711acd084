"""Replace the surface of objects by textures in pixel space (an approximation of TextureSAM's augmentation).

TextureSAM's published images were made with Compositional Neural Textures, a neural method whose code is not public.
Here textures are blended with the pixels, so scores of models trained on the two kinds of images are not comparable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samplug.datasets.synthetic.textures import TEXTURES
from samplug.imaging.files import read_image
from samplug.imaging.listing import list_files
from samplug.utils.errors import ConfigError, DataError, check_choice

Image = NDArray[np.uint8]
Keep = Literal["nothing", "luminance", "shading"]

_ZOOM = (0.5, 1.0)  # side of the crop as a share of the photograph's shorter side
_SHADING_SIGMA = 1 / 8  # as a share of the object's longer side
_PROCEDURAL_SIDE = 256


class TextureSource(Protocol):
    """Source of textures."""

    def draw(self, rng: Generator, size: tuple[int, int]) -> Image:
        """Draw a texture at random, (height, width, 3) uint8 BGR of ``size``."""
        ...


class PhotoTextures:
    """Textures cut from photographs.

    Args:
        folder: Folder of images, searched recursively, such as DTD's ``images`` with ``CLASS/*.jpg``.

    Raises:
        DataError: The folder does not exist or contains no image.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        files, _ = list_files(self.folder, None, recursive=True)
        self.files = [files[name] for name in sorted(files)]
        if not self.files:
            raise DataError(
                f"textures: {self.folder} holds no images: name a folder of photographs, such as dtd/images of the "
                "Describable Textures Dataset, or leave textures out for generated ones"
            )

    def draw(self, rng: Generator, size: tuple[int, int]) -> Image:
        """Crop a square of random position and zoom from a random photograph; mirror it if it is too small."""
        photo = read_image(self.files[rng.integers(len(self.files))])
        side = max(1, round(min(photo.shape[:2]) * rng.uniform(*_ZOOM)))
        y, x = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
        return _cover(photo[y : y + side, x : x + side], size)


class GeneratedTextures:
    """Textures of :data:`samplug.datasets.synthetic.textures.TEXTURES` in random, mostly calm colours."""

    def draw(self, rng: Generator, size: tuple[int, int]) -> Image:
        """Generate a texture of a random family from two random colours."""
        names = sorted(TEXTURES)
        grey = TEXTURES[names[rng.integers(len(names))]](rng, _PROCEDURAL_SIDE)
        middle = rng.uniform(50, 205) + rng.normal(0, 25, 3)
        contrast = rng.uniform(15, 70) * (1 + rng.normal(0, 0.3, 3))
        return _cover((middle + contrast * np.tanh(grey / 2)[..., None]).clip(0, 255).round().astype(np.uint8), size)


class MixedTextures:
    """Random mixture of a texture source and generated textures.

    Args:
        source: Texture source.
        generated: Share of generated textures, in [0, 1].

    Raises:
        ConfigError: ``generated`` is not in [0, 1].
    """

    def __init__(self, source: TextureSource, generated: float) -> None:
        if not 0 <= generated <= 1:
            raise ConfigError(f"textures: generated={generated!r} is not a share in [0, 1]")
        self.source, self.generated = source, generated

    def draw(self, rng: Generator, size: tuple[int, int]) -> Image:
        """Draw a generated texture or a texture of the source."""
        return (GeneratedTextures() if rng.random() < self.generated else self.source).draw(rng, size)


class TextureBank:
    """Fixed number of textures of a source, of which random parts are drawn, so that a draw costs little.

    A texture is drawn from the source when it is first needed, from a random generator of its own: the order of draws
    does not matter. It is then kept in memory, 0.2 MB each at a side of 256 pixels (about 300 MB for 1600), once in
    each worker of a data loader.

    Args:
        source: Source of textures.
        number: Number of textures.
        side: Side of the textures in pixels.
        seed: Random seed of the textures.

    Raises:
        ConfigError: ``number`` is below 1.
    """

    def __init__(self, source: TextureSource, number: int = 1600, side: int = 256, seed: int = 0) -> None:
        if number < 1:
            raise ConfigError(f"TextureBank: number={number!r} must be at least 1")
        self.source, self.number, self.side, self.seed = source, number, side, seed
        self._textures: dict[int, Image] = {}

    def draw(self, rng: Generator, size: tuple[int, int]) -> Image:
        """Draw a square part of a random texture, scaled to cover ``size``, turned by quarters and mirrored."""
        texture = self._texture(int(rng.integers(self.number)))
        target, side = max(size), self._draw_side(rng, max(size))
        y, x = (int(start) for start in rng.integers(0, self.side - side + 1, 2))
        part = np.rot90(texture[y : y + side, x : x + side], int(rng.integers(4)))
        if rng.random() < 0.5:
            part = part[:, ::-1]
        interpolation = cv2.INTER_AREA if side > target else cv2.INTER_LINEAR
        scaled = cv2.resize(np.ascontiguousarray(part), (target, target), interpolation=interpolation)
        return _cover(scaled, size)  # type: ignore[arg-type]

    def _draw_side(self, rng: Generator, target: int) -> int:
        """Draw the side of a part: mostly large ones, which are hardly enlarged, and some that show few details."""
        low, high = min(target, 7 * self.side // 16), self.side
        if rng.random() < 0.2:
            low, high = self.side // 4, self.side // 2
        return int(rng.integers(low, high + 1))

    def _texture(self, index: int) -> Image:
        if index not in self._textures:
            rng = np.random.default_rng((self.seed, index))
            self._textures[index] = self.source.draw(rng, (self.side, self.side))
        return self._textures[index]


def texture_source(folder: str | Path | None) -> TextureSource:
    """Return the textures of a folder of photographs; None: generated textures."""
    return GeneratedTextures() if folder is None else PhotoTextures(folder)


def _cover(texture: Image, size: tuple[int, int]) -> Image:
    """Fill (height, width) with a texture: crop it, or tile it with mirror images."""
    pads = [max(0, length - have) for length, have in zip(size, texture.shape, strict=False)]
    texture = np.pad(texture, ((0, pads[0]), (0, pads[1]), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(texture[: size[0], : size[1]])


@dataclass(frozen=True)
class Surface:
    """Texture fitted to an object.

    Attributes:
        box: (x0, y0, x1, y1) of the object in pixels, ends exclusive.
        alpha: (h, w) float32 in [0, 1] of the box's size, weight of the texture at degree 1; 0 outside the object.
        texture: (h, w, 3) float32 BGR in 0..255.
    """

    box: tuple[int, int, int, int]
    alpha: NDArray[np.float32]
    texture: NDArray[np.float32]


def make_surface(image: Image, mask: NDArray[np.bool_], texture: Image, keep: Keep, feather: float) -> Surface:
    """Fit a texture to an object.

    Args:
        image: (H, W, 3) uint8 BGR.
        mask: (H, W) bool, with at least one pixel.
        texture: (h, w, 3) uint8 BGR of the size of the mask's box.
        keep: Property of the object to keep: ``'nothing'``; ``'luminance'``, its mean and standard deviation; or
            ``'shading'``, also slow changes of the luminance.
        feather: Width in pixels of the blended border inside the outline.
    """
    box = box_of(mask)
    x0, y0, x1, y1 = box
    inside = np.pad(mask[y0:y1, x0:x1], 1)  # no blending at the image border
    alpha = inside.astype(np.float32)
    if feather:
        distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        alpha = np.clip(distance / (feather + 1), 0, 1).astype(np.float32)
    alpha, inside = alpha[1:-1, 1:-1], inside[1:-1, 1:-1]
    surface = texture.astype(np.float32)
    if keep != "nothing":
        surface = _keep_luminance(surface, image[y0:y1, x0:x1].astype(np.float32), inside, keep)
    return Surface(box, alpha, surface)


def _keep_luminance(
    texture: NDArray[np.float32], image: NDArray[np.float32], inside: NDArray[np.bool_], keep: Keep
) -> NDArray[np.float32]:
    lab, original = (cv2.cvtColor(pixels / 255, cv2.COLOR_BGR2LAB) for pixels in (texture, image))
    light, before = lab[..., 0], original[..., 0]
    if keep == "shading":
        weight = inside.astype(np.float32)
        sigma = max(1.0, _SHADING_SIGMA * max(inside.shape))
        blurred = [cv2.GaussianBlur(values, (0, 0), sigma) for values in (before * weight, weight)]
        base = blurred[0] / np.maximum(blurred[1], 1e-6)
    else:
        base = np.float32(before[inside].mean())
    spread = (before - base)[inside].std() / max(float(light[inside].std()), 1e-6)
    lab[..., 0] = np.clip((light - light[inside].mean()) * spread + base, 0, 100)
    return (cv2.cvtColor(lab, cv2.COLOR_LAB2BGR) * 255).clip(0, 255)


def apply_surfaces(image: Image, surfaces: Sequence[Surface], degree: float) -> Image:
    """Blend the textures of objects into an image, later objects over earlier ones; degree 0 changes nothing.

    Args:
        image: (H, W, 3) uint8 BGR.
        surfaces: Textures of the objects.
        degree: Weight of the textures, in [0, 1].
    """
    result = image.astype(np.float32)
    for surface in surfaces:
        x0, y0, x1, y1 = surface.box
        part = result[y0:y1, x0:x1]
        part += degree * surface.alpha[..., None] * (surface.texture - part)
    return result.round().clip(0, 255).astype(np.uint8)


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the tight box (x0, y0, x1, y1) of a mask that is not empty, ends exclusive."""
    columns, rows = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def draw_surfaces(
    image: Image,
    masks: Sequence[NDArray[np.bool_]],
    source: TextureSource,
    rngs: Sequence[Generator],
    share: float = 1.0,
    keep: Keep = "nothing",
    feather: float = 2.0,
) -> list[Surface]:
    """Draw a texture for each object, or for a random share of them.

    Args:
        image: (H, W, 3) uint8 BGR.
        masks: (H, W) bool each; empty masks get no texture.
        source: Source of textures.
        rngs: Random generator for each object.
        share: Probability that an object gets a texture.
        keep: See :func:`make_surface`.
        feather: See :func:`make_surface`.
    """
    surfaces = []
    for mask, rng in zip(masks, rngs, strict=True):
        if rng.random() < share and mask.any():
            x0, y0, x1, y1 = box_of(mask)
            surfaces.append(make_surface(image, mask, source.draw(rng, (y1 - y0, x1 - x0)), keep, feather))
    return surfaces


def check_options(owner: str, share: float, keep: str, feather: float) -> None:
    """Raise a ConfigError for options of :func:`draw_surfaces` that are out of range."""
    if not 0 <= share <= 1:
        raise ConfigError(f"{owner}: share={share!r} is not in [0, 1]")
    check_choice(owner, "keep", keep, get_args(Keep))
    if not feather >= 0:
        raise ConfigError(f"{owner}: feather={feather!r} is below 0")
