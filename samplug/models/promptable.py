"""Promptable segmentation: an encoder run once for an image, a decoder run for each set of prompts (Kirillov et al., 2023)."""

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from samplug.models.base import StrictInit
from samplug.models.decoders import Masks
from samplug.models.frames import FrameMode
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

Cfg = dict[str, Any]


@dataclass(frozen=True)
class Prompts:
    """What is said of B objects; places are (x, y) in pixels of the network's input.

    Attributes:
        points: (B, K, 2) float; K clicks on each object.
        labels: (B, K): 1 = on the object, 0 = not on it, -1 = no click (fills up shorter rows).
        boxes: (B, 4) float, (x0, y0, x1, y1).
        masks: (B, 1, 4g, 4g) logits of an earlier answer.
        image_index: (B,) int: the image of each object. None: one object in each image, or all in the only one.

    Raises:
        ConfigError: Numbers of objects differ, or points and labels do not come together.
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
        """Number of objects; 1 without any prompt."""
        return next((len(value) for field in fields(self) if (value := getattr(self, field.name)) is not None), 1)


@MODELS.register_module()
class PromptableSAM(StrictInit, BaseModel):
    """SAM as it was published: an image, prompts, masks.

    Data flow, g = img_size / patch_size, B objects in N images, M masks of each::

        images (N, 3, S, S) -> encode() -> features ((N, 256, g, g),)
        features, Prompts of B objects -> decode() -> Masks: logits (B, M, 4g, 4g), iou (B, M)

    Features may be kept: a click costs a run of the decoder only (:class:`samplug.apis.Predictor`).

    Args:
        backbone: Config of the encoder.
        decode_head: Config of the decoder; None: :class:`SAMMaskDecoder` with all of its prompts.
        frame: How images lie in the input, see :class:`samplug.models.frames.Frame`; ``'letterbox'`` as SAM.
        data_preprocessor: None: :class:`LetterboxPreProcessor` for BGR images in 0..255 of sizes up to S x S, with the encoder's
            statistics.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='sam_vit_b_01ec64.pth')``: the whole model from one file.
    """

    def __init__(
        self,
        backbone: Cfg,
        decode_head: Cfg | None = None,
        frame: FrameMode = "letterbox",
        data_preprocessor: Cfg | None = None,
        init_cfg: Cfg | list[Cfg] | None = None,
    ) -> None:
        encoder = MODELS.build(backbone)
        if data_preprocessor is None:
            data_preprocessor = dict(
                type="samplug.LetterboxPreProcessor",
                mean=encoder.mean,
                std=encoder.std,
                bgr_to_rgb=True,
                size=(encoder.img_size, encoder.img_size),
            )
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = encoder
        self.decode_head = MODELS.build(decode_head or dict(type="SAMMaskDecoder", prompts=True))
        self.frame = frame

    @property
    def img_size(self) -> int:
        """Side of the network's input in pixels."""
        return self.backbone.img_size

    def normalise(self, pixels: Tensor) -> Tensor:
        """An RGB image in 0..255 that fits the input -> (1, 3, S, S), normalised, then padded at the right and below.

        Args:
            pixels: (3, h, w) float, h and w at most S.
        """
        mean, std = (pixels.new_tensor(value)[:, None, None] for value in (self.backbone.mean, self.backbone.std))
        height, width = pixels.shape[-2:]
        return F.pad((pixels - mean) / std, (0, self.img_size - width, 0, self.img_size - height))[None]

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Tensor:
        """Normalised images (N, 3, S, S) -> logits of the answer without prompts, (N, 1, S, S).

        Raises:
            ConfigError: Another mode than ``'tensor'``: a Runner does not train or test this model yet.
        """
        if mode != "tensor":
            raise ConfigError(
                "PromptableSAM: Runners do not train or test it yet: predict with samplug.apis.Predictor, or train without prompts "
                "(SAMSegmentor)"
            )
        images = torch.arange(len(inputs), device=inputs.device)
        masks = self.decode(self.encode(inputs), Prompts(image_index=images))
        return F.interpolate(masks.logits, size=inputs.shape[-2:], mode="bilinear", align_corners=False)

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (N, 3, S, S) -> the encoder's maps, what :meth:`decode` takes."""
        return self.backbone(images)

    def decode(self, features: tuple[Tensor, ...], prompts: Prompts, multimask: bool = False) -> Masks:
        """Masks of B objects.

        Args:
            features: Of N images, from :meth:`encode`.
            prompts: Of B objects.
            multimask: Three masks for prompts that may mean several things, in place of one.

        Returns:
            ``logits`` (B, M, 4g, 4g), ``iou`` (B, M), ``object_score`` (B, 1) or None.

        Raises:
            ConfigError: It cannot be told which image an object is in.
        """
        chosen = self._of_objects(features, prompts)
        grid = self.img_size // self.backbone.patch_size
        one = {
            name: None if value is None else value[:, None]  # B images with one object each
            for name, value in (("points", prompts.points), ("labels", prompts.labels), ("boxes", prompts.boxes))
        }
        sparse, dense = self.decode_head.embed_prompts(self.img_size, grid, **one, masks=prompts.masks)
        logits, iou, score = self.decode_head.decode(chosen, sparse, dense, multimask)
        return Masks(logits[:, 0], iou[:, 0], None if score is None else score[:, 0])

    def _of_objects(self, features: tuple[Tensor, ...], prompts: Prompts) -> tuple[Tensor, ...]:
        """The maps of each object's image."""
        images, objects = len(features[0]), len(prompts)
        if prompts.image_index is not None:
            return tuple(feature[prompts.image_index] for feature in features)
        if images not in (1, objects):
            raise ConfigError(
                f"prompts: {objects} objects in {images} images: set image_index, the image of each object"
            )
        return tuple(feature.expand(objects, -1, -1, -1) for feature in features)
