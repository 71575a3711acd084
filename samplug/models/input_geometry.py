"""Geometry of an image of any size in the square input of a network."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

InputMode = Literal["letterbox", "squash"]


@dataclass(frozen=True)
class InputGeometry:
    """Place of one image in the network's input.

    Attributes:
        size: Side S of the input in pixels.
        original: (height, width) of the image.
        mode: ``'letterbox'`` (SAM): the longer side becomes S, padding follows at the right or the bottom.
            ``'squash'`` (SAM 2): both sides become S.
    """

    size: int
    original: tuple[int, int]
    mode: InputMode

    @property
    def filled(self) -> tuple[int, int]:
        """(height, width) of the image within the input."""
        if self.mode == "squash":
            return self.size, self.size
        scale = self.size / max(self.original)
        height, width = (max(1, int(side * scale + 0.5)) for side in self.original)
        return height, width

    def fit(self, image: NDArray[np.uint8], interpolation: str = "bilinear") -> Tensor:
        """Resize an image as the published models' own code does, without padding.

        Args:
            image: (H, W, 3) uint8.
            interpolation: ``'bilinear'`` or ``'bicubic'``, the encoder's :attr:`Encoder.interpolation`.

        Returns:
            (3, *filled) float32 in 0..255; whole numbers for ``'letterbox'``.
        """
        height, width = self.filled
        if self.mode == "letterbox":
            resized = np.asarray(
                Image.fromarray(image).resize((width, height), Image.Resampling[interpolation.upper()])
            )
            return torch.from_numpy(resized.copy()).permute(2, 0, 1).float()
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float()
        pixels = F.interpolate(
            pixels[None], size=(height, width), mode=interpolation, antialias=True, align_corners=False
        )
        return pixels[0]

    def to_input(self, points: ArrayLike | Tensor) -> Tensor:
        """Convert coordinates from image pixels to input pixels.

        Args:
            points: (..., 2), (x, y), a tensor, array or nested lists of any numeric dtype; pass boxes as corners.

        Returns:
            (..., 2) float32, (x, y) in input pixels.

        Raises:
            ValueError: The last axis does not have length 2.
        """
        if not isinstance(points, Tensor):
            points = torch.tensor(np.ascontiguousarray(points, np.float32))
        places = points.float()  # as an integer the scale would be 0
        if not places.ndim or places.shape[-1] != 2:
            raise ValueError(f"to_input: points must be (..., 2), found {tuple(places.shape)}: pass boxes as corners")
        height, width = self.filled
        return places * places.new_tensor([width / self.original[1], height / self.original[0]])

    def place_objects(self, objects: Tensor) -> Tensor:
        """Resize masks (N, 1, height, width) uint8 of the image to the input (N, 1, S, S) by the nearest pixel.

        Padding is 255. An object too small to keep a pixel gets every pixel that it touches, so that it can be clicked.
        """
        height, width = self.filled
        # Only floats can be resized; 0, 1 and 255 keep their values.
        placed = F.interpolate(objects.float(), size=(height, width), mode="nearest-exact").to(torch.uint8)
        lost = (objects == 1).flatten(1).any(dim=1) & ~(placed == 1).flatten(1).any(dim=1)
        touched = F.adaptive_max_pool2d((objects[lost] == 1).float(), (height, width)) == 1
        placed[lost] = placed[lost].masked_fill(touched, 1)
        return F.pad(placed, (0, self.size - width, 0, self.size - height), value=255)

    def restore(self, logits: Tensor) -> Tensor:
        """Resize logits (N, M, h, w) of the input to the image (N, M, height, width), without the padding."""
        if self.mode == "letterbox":
            height, width = self.filled
            factor, rest = divmod(self.size, logits.shape[-1])
            if rest == 0:  # only the cells that the image fills, and one more for the interpolation of the last pixels
                rows, columns = (min(side // factor + 2, logits.shape[-1]) for side in (height, width))
                logits = resize_masks(logits[..., :rows, :columns], (rows * factor, columns * factor))
            else:
                logits = resize_masks(logits, (self.size, self.size))
            logits = logits[..., :height, :width]
            if (height, width) == self.original:
                return logits
        return resize_masks(logits, self.original)


def resize_masks(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks (N, M, h, w) to (N, M, *size), bilinear."""
    if logits.shape[-2:] == size:
        return logits
    # As images of one channel: torch's path for a few channels is two to four times slower.
    single = logits.flatten(0, 1)[:, None]
    resized = F.interpolate(single, size=size, mode="bilinear", align_corners=False)
    return resized.unflatten(0, logits.shape[:2])[:, :, 0]
