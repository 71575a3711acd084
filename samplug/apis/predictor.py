"""Predict masks for clicks and boxes on an image that is encoded once."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from samplug.models.image_embedding import ImageEmbedding
from samplug.models.promptable import PromptableSAM
from samplug.models.prompts import Prompts
from samplug.utils.errors import DataError


class PredictedMasks(NamedTuple):
    """Masks for one prompt; boxes (B, 4), clicks (B, K, 2) or masks (B, 1, 4g, 4g) add a first axis of B objects.

    Attributes:
        masks: (M, H, W) bool; float32 logits with ``return_logits``.
        scores: (M,) float32, predicted IoU.
        low_res: (M, 4g, 4g) float32 logits over the network's input, for ``mask_input`` of the next call.
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

    :meth:`embed` and ``predict(..., embedding=...)`` do without a current image. Predictors of one model may be used
    from several threads, and so may one predictor that is given embeddings.

    Args:
        model: A :class:`PromptableSAM`; it is put into evaluation mode.
        mask_threshold: Logit above which a pixel is foreground. None: the ``threshold`` of the model's decoder, by
            default 0.
    """

    def __init__(self, model: PromptableSAM, mask_threshold: float | None = None) -> None:
        self.model = model.eval()
        self.mask_threshold = model.decode_head.logit_threshold if mask_threshold is None else mask_threshold
        self._embedding: ImageEmbedding | None = None

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self.model.parameters()).device

    @property
    def is_image_set(self) -> bool:
        """True after :meth:`set_image`."""
        return self._embedding is not None

    @property
    def features(self) -> tuple[torch.Tensor, ...]:
        """The encoder's maps of the image that was set, (1, C, h, w) each.

        Raises:
            DataError: No image was set.
        """
        return self._current().features

    def reset_image(self) -> None:
        """Forget the image."""
        self._embedding = None

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encode an image for all predictions until the next call; see :meth:`embed`."""
        self.reset_image()
        self._embedding = self.embed(image, image_format)

    def embed(self, image: NDArray[np.uint8], image_format: str = "RGB") -> ImageEmbedding:
        """Encode an image as a value for :meth:`predict`.

        Args:
            image: (H, W, 3) uint8.
            image_format: Order of its channels, ``'RGB'`` or ``'BGR'``.

        Raises:
            DataError: Another shape or type, or an unknown format.
        """
        if image_format not in ("RGB", "BGR"):
            raise DataError(f"predictor: image_format={image_format!r} is neither 'RGB' nor 'BGR'")
        return self.model.embed(image if image_format == "RGB" else np.asarray(image)[..., ::-1])

    def _current(self) -> ImageEmbedding:
        if self._embedding is None:
            raise DataError("predictor: there is no image: call set_image first")
        return self._embedding

    @torch.inference_mode()
    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        embedding: ImageEmbedding | None = None,
    ) -> PredictedMasks:
        """Predict masks for prompts on an image.

        Args:
            point_coords: (K, 2) clicks, (x, y) in pixels of the image; (B, K, 2) for B objects at once.
            point_labels: (K,) or (B, K): 1 = on the object, 0 = not on it.
            box: (4,) as (x0, y0, x1, y1) in pixels of the image; (B, 4) for B objects at once.
            mask_input: (1, 4g, 4g) logits, ``low_res`` of an earlier call; (B, 1, 4g, 4g) for B objects.
            multimask_output: Return three masks, for ambiguous prompts such as a single click; the best has the highest
                score.
            return_logits: Return logits in place of decisions.
            embedding: Result of :meth:`embed` with the present weights of the model, on its device. None: the image
                that was set.

        Returns:
            Masks at the image's size, their scores, and logits for the next call.

        Raises:
            DataError: No image, prompts of other shapes or outside the image, or the model's weights have changed since
                it encoded the image.
        """
        embedding = embedding or self._current()
        geometry, version, present = embedding.geometry, embedding.weights_version, self.model.weights_version()
        other_model = version is not None and version[0] != present[0]
        if other_model or (geometry.size, geometry.mode) != (self.model.img_size, self.model.geometry):
            raise DataError("predictor: another model made this embedding: make one with this predictor's embed")
        if version is not None and version != present:
            raise DataError(
                "predictor: the model's weights have changed since it encoded the image: call set_image or embed again"
            )
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
                f"predictor: mask_input has the shape {mask.shape}, expected (1, {side}, {side}) logits: "
                "low_res[i][None] of an earlier call"
            )
        _check_inside(geometry.original, points, boxes)
        many = any(array is not None and array.ndim == ndim for array, ndim in ((points, 3), (boxes, 2), (mask, 4)))
        prompts = Prompts(
            points=None if points is None else geometry.to_input(self._tensor(points, 3)),
            labels=None if labels is None else self._tensor(labels, 2).long(),
            boxes=None if boxes is None else geometry.to_input(self._tensor(boxes, 2).reshape(-1, 2, 2)).flatten(1),
            masks=None if mask is None else self._tensor(mask, 4),
        )
        predicted = self.model.decode(embedding.features, prompts, multimask_output, memory=embedding.memory)
        masks = geometry.restore(predicted.logits.float())
        if not return_logits:
            masks = masks > self.mask_threshold
        values = (masks, predicted.iou.float(), predicted.logits.float())
        return PredictedMasks(*((value if many else value[0]).cpu().numpy() for value in values))

    def _tensor(self, value: NDArray[Any], ndim: int) -> torch.Tensor:
        tensor = torch.as_tensor(value, dtype=torch.float32, device=self.device)
        return tensor if tensor.ndim == ndim else tensor[None]


def _array(name: str, value: ArrayLike | None, ndims: tuple[int, int], last: int | None) -> NDArray[np.float32] | None:
    """Convert a prompt to an array.

    Raises:
        DataError: The prompt has another shape, or is not finite.
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
                    f"predictor: the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) ends before it begins: give (x0, y0, x1, y1)"
                )
