"""Masks for clicks and boxes on an image that is encoded once."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from samplug.models.decoders.two_way import Memory
from samplug.models.input_geometry import InputGeometry
from samplug.models.promptable import PromptableSAM
from samplug.models.prompts import Prompts
from samplug.utils.errors import DataError


class PredictedMasks(NamedTuple):
    """The answer to one prompt; with boxes (B, 4), clicks (B, K, 2) or masks (B, 1, 4g, 4g) each array has a first axis of B objects.

    Attributes:
        masks: (M, H, W) bool; float32 logits with ``return_logits``.
        scores: (M,) float32, predicted IoU.
        low_res: (M, 4g, 4g) float32 logits over the network's input: the ``mask_input`` of the next call.
    """

    masks: NDArray[Any]
    scores: NDArray[np.float32]
    low_res: NDArray[np.float32]


class Predictor:
    """Interactive segmentation, called as segment-anything's ``SamPredictor`` is; for SAM and SAM 2 alike.

    ::

        predictor = Predictor(init_model(config, checkpoint))
        predictor.set_image(image)
        masks, scores, low_res = predictor.predict(point_coords=[[x, y]], point_labels=[1])

    Args:
        model: A :class:`PromptableSAM`; it is put into evaluation mode.
        mask_threshold: Logit above which a pixel is of the object.
    """

    def __init__(self, model: PromptableSAM, mask_threshold: float = 0.0) -> None:
        self.model = model.eval()
        self.mask_threshold = mask_threshold
        self._features: tuple[torch.Tensor, ...] | None = None
        self._frame: InputGeometry | None = None
        self._memory: dict[torch.dtype, Memory] = {}  # by precision

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def is_image_set(self) -> bool:
        """Whether there is an image to predict on."""
        return self._features is not None

    @property
    def features(self) -> tuple[torch.Tensor, ...]:
        """The encoder's maps of the image, (1, C, h, w) each.

        Raises:
            DataError: No image was set.
        """
        if self._features is None:
            raise DataError("predictor: there is no image: call set_image first")
        return self._features

    def reset_image(self) -> None:
        """Forget the image."""
        self._features = self._frame = None
        self._memory = {}

    @torch.inference_mode()
    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encode an image; every prediction until the next call is on it.

        Args:
            image: (H, W, 3) uint8.
            image_format: ``'RGB'`` or ``'BGR'``: the order of its channels.

        Raises:
            DataError: Another shape or type, or an unknown format.
        """
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise DataError(
                f"predictor: an image is (H, W, 3) uint8, this one is {image.shape} {image.dtype}: convert it first"
            )
        if image_format not in ("RGB", "BGR"):
            raise DataError(f"predictor: image_format={image_format!r} is neither 'RGB' nor 'BGR'")
        self.reset_image()
        frame = InputGeometry(self.model.img_size, (image.shape[0], image.shape[1]), self.model.frame)
        pixels = frame.fit(image[..., ::-1] if image_format == "BGR" else image)
        self._features = self.model.encode(self.model.normalise(pixels.to(self.device)))
        self._frame = frame

    @torch.inference_mode()
    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> PredictedMasks:
        """Masks for prompts on the image that was set.

        Args:
            point_coords: (K, 2) clicks, (x, y) in pixels of the image; (B, K, 2) for B objects at once.
            point_labels: (K,) or (B, K): 1 = on the object, 0 = not on it.
            box: (4,) as (x0, y0, x1, y1) in pixels of the image; (B, 4) for B objects at once.
            mask_input: (1, 4g, 4g) logits, ``low_res`` of an earlier call; (B, 1, 4g, 4g) for B objects.
            multimask_output: Three masks for prompts that may mean several things, e.g. a single click; the best has the highest score.
            return_logits: Logits in place of decisions.

        Returns:
            Masks at the image's size, their scores, and logits for the next call.

        Raises:
            DataError: No image, prompts of other shapes, or outside the image.
        """
        features, frame = self.features, self._frame
        assert frame is not None
        points = _array("point_coords", point_coords, (2, 3), 2)
        labels = _array("point_labels", point_labels, (1, 2), None)
        boxes = _array("box", box, (1, 2), 4)
        mask = _array("mask_input", mask_input, (3, 4), None)
        if (points is None) != (labels is None) or (
            points is not None and labels is not None and points.shape[:-1] != labels.shape
        ):
            raise DataError("predictor: point_coords (K, 2) need point_labels (K,): 1 on the object, 0 off it")
        if labels is not None and not set(np.unique(labels)) <= {-1, 0, 1}:
            raise DataError(f"predictor: point_labels are 1 or 0, these are {np.unique(labels).tolist()}")
        side = 4 * (self.model.img_size // self.model.backbone.patch_size)
        if mask is not None and mask.shape[-3:] != (1, side, side):
            raise DataError(
                f"predictor: mask_input has the shape {mask.shape}, expected (1, {side}, {side}) logits: low_res[i][None] of an earlier call"
            )
        _check_inside(frame.original, points, boxes)
        many = any(array is not None and array.ndim == ndim for array, ndim in ((points, 3), (boxes, 2), (mask, 4)))
        prompts = Prompts(
            points=None if points is None else frame.to_input(self._tensor(points, 3)),
            labels=None if labels is None else self._tensor(labels, 2).long(),
            boxes=None if boxes is None else frame.to_input(self._tensor(boxes, 2).reshape(-1, 2, 2)).flatten(1),
            masks=None if mask is None else self._tensor(mask, 4),
        )
        # What the decoder makes of the image alone is the same for each click; a mask prompt changes it.
        kind = self.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        with self.model.decode_head.remembering(self._memory.setdefault(precision, {}) if mask is None else None):
            answer = self.model.decode(features, prompts, multimask_output)
        masks = frame.restore(answer.logits.float())
        if not return_logits:
            masks = masks > self.mask_threshold
        found = (masks, answer.iou.float(), answer.logits.float())
        return PredictedMasks(*((value if many else value[0]).cpu().numpy() for value in found))

    def _tensor(self, value: NDArray[Any], ndim: int) -> torch.Tensor:
        tensor = torch.as_tensor(value, dtype=torch.float32, device=self.device)
        return tensor if tensor.ndim == ndim else tensor[None]


def _array(name: str, value: ArrayLike | None, ndims: tuple[int, int], last: int | None) -> NDArray[np.float32] | None:
    """A prompt as an array.

    Raises:
        DataError: Of another shape, or not finite.
    """
    if value is None:
        return None
    array = np.asarray(value, np.float32)
    if array.ndim not in ndims or (last is not None and array.shape[-1] != last) or not array.size:
        raise DataError(f"predictor: {name} has the shape {array.shape}, see Predictor.predict for what it should be")
    if not np.isfinite(array).all():
        raise DataError(f"predictor: {name} has values that are not finite")
    return array


def _check_inside(original: tuple[int, int], points: NDArray[Any] | None, boxes: NDArray[Any] | None) -> None:
    height, width = original
    places = [array.reshape(-1, 2) for array in (points, boxes) if array is not None]
    for x, y in np.concatenate(places) if places else ():
        if not (0 <= x <= width and 0 <= y <= height):
            raise DataError(f"predictor: ({x:g}, {y:g}) is outside the image of {width}x{height} pixels")
    if boxes is not None:
        for x0, y0, x1, y1 in boxes.reshape(-1, 4):
            if x1 < x0 or y1 < y0:
                raise DataError(
                    f"predictor: the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) ends before it begins: it is (x0, y0, x1, y1)"
                )
