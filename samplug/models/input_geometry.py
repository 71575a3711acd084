"""How an image of any size lies in the square that a network takes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

InputMode = Literal["letterbox", "squash"]


@dataclass(frozen=True)
class InputGeometry:
    """The place of one image in the network's input.

    Attributes:
        size: Side S of the input in pixels.
        original: (height, width) of the image.
        mode: ``'letterbox'`` (SAM): the longer side becomes S, the rest at the right or below is padding. ``'squash'`` (SAM 2): both sides
            become S.
    """

    size: int
    original: tuple[int, int]
    mode: InputMode

    @property
    def filled(self) -> tuple[int, int]:
        """(height, width) of the image within the frame."""
        if self.mode == "squash":
            return self.size, self.size
        scale = self.size / max(self.original)
        height, width = (max(1, int(side * scale + 0.5)) for side in self.original)
        return height, width

    def fit(self, image: NDArray[np.uint8]) -> Tensor:
        """Resize an image as the published models' own code does, without padding.

        Args:
            image: (H, W, 3) uint8.

        Returns:
            (3, *filled) float32 in 0..255; whole numbers in a letterbox.
        """
        height, width = self.filled
        if self.mode == "letterbox":
            resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
            return torch.from_numpy(resized.copy()).permute(2, 0, 1).float()
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float()
        return F.interpolate(pixels[None], size=(height, width), mode="bilinear", antialias=True, align_corners=False)[
            0
        ]

    def to_input(self, points: Tensor) -> Tensor:
        """(..., 2) of (x, y) in pixels of the image -> in pixels of the frame; for boxes, give their corners."""
        height, width = self.filled
        scale = points.new_tensor([width / self.original[1], height / self.original[0]])
        return points * scale

    def place_objects(self, objects: Tensor) -> Tensor:
        """(N, 1, height, width) uint8 over the image -> (N, 1, S, S) over the frame, by the nearest pixel; padding is 255, not known.

        Of an object so small that no pixel would be left, every pixel that it touches is, so that it can be clicked.
        """
        height, width = self.filled
        # In floats: only they can be resized. 0, 1 and 255 stay what they are.
        placed = F.interpolate(objects.float(), size=(height, width), mode="nearest-exact").to(torch.uint8)
        lost = (objects == 1).flatten(1).any(dim=1) & ~(placed == 1).flatten(1).any(dim=1)
        touched = F.adaptive_max_pool2d((objects[lost] == 1).float(), (height, width)) == 1
        placed[lost] = placed[lost].masked_fill(touched, 1)
        return F.pad(placed, (0, self.size - width, 0, self.size - height), value=255)

    def restore(self, logits: Tensor) -> Tensor:
        """(N, M, h, w) logits over the frame -> (N, M, height, width) over the image."""
        if self.mode == "letterbox":
            height, width = self.filled
            factor, rest = divmod(self.size, logits.shape[-1])
            if rest == 0:  # only what the image fills, and a cell more, which the last pixels are interpolated with
                rows, columns = (min(side // factor + 2, logits.shape[-1]) for side in (height, width))
                logits = resize_masks(logits[..., :rows, :columns], (rows * factor, columns * factor))
            else:
                logits = resize_masks(logits, (self.size, self.size))
            logits = logits[..., :height, :width]
            if (height, width) == self.original:
                return logits
        return resize_masks(logits, self.original)


def resize_masks(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, M, h, w) -> (N, M, *size), bilinear."""
    if logits.shape[-2:] == size:
        return logits
    # As one-channel images: of few channels torch takes a path that is two to four times slower.
    single = logits.flatten(0, 1)[:, None]
    return F.interpolate(single, size=size, mode="bilinear", align_corners=False).unflatten(0, logits.shape[:2])[
        :, :, 0
    ]
