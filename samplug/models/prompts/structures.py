"""Prompts (points, boxes, masks) as a promptable model takes them."""

from dataclasses import dataclass, fields

from torch import Tensor

from samplug.utils.errors import ConfigError


@dataclass(frozen=True)
class Prompts:
    """Prompts for B objects; places are (x, y) in pixels of the network's input.

    Attributes:
        points: (B, K, 2) float; K clicks on each object.
        labels: (B, K): 1 = on the object, 0 = not on it, -1 = no click (fills up shorter rows).
        boxes: (B, 4) float, (x0, y0, x1, y1).
        masks: (B, 1, 4g, 4g) logits, e.g. of an earlier prediction.
        image_index: (B,) int, index of each object's image. None: one object in each image, or all in a single image.

    Raises:
        ConfigError: Numbers of objects differ, or points and labels differ in shape or come alone.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    image_index: Tensor | None = None

    def __post_init__(self) -> None:
        sizes = {field.name: len(value) for field in fields(self) if (value := getattr(self, field.name)) is not None}
        if len(set(sizes.values())) > 1:
            raise ConfigError(f"prompts: numbers of objects differ: {', '.join(f'{k} {v}' for k, v in sizes.items())}")
        if (self.points is None) != (self.labels is None) or (
            self.points is not None and self.labels is not None and self.points.shape[:2] != self.labels.shape
        ):
            raise ConfigError("prompts: points (B, K, 2) need labels (B, K): 1 on the object, 0 off it, -1 no click")

    def __len__(self) -> int:
        """Return the number of objects; 1 without any prompt."""
        return next((len(value) for field in fields(self) if (value := getattr(self, field.name)) is not None), 1)
