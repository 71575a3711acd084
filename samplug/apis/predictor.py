"""Predict masks for clicks and boxes on an image that is encoded once."""

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from samplug.apis.prompt_arrays import Outside, read_prompts
from samplug.generation import GeneratedMasks, MaskGenerator
from samplug.models.image_embedding import ImageEmbedding
from samplug.models.promptable import PromptableSAM
from samplug.models.prompts import Prompts
from samplug.utils.errors import ConfigError, DataError, check_choice

PromptBatch = Sequence[ArrayLike | None] | None


class PredictedMasks(NamedTuple):
    """Masks for one prompt. Boxes (B, 4), clicks (B, K, 2) or masks (B, 1, 4g, 4g) of B objects add a first axis B.

    Attributes:
        masks: (M, H, W) bool; float32 logits with ``return_logits``.
        scores: (M,) float32, predicted IoU.
        low_res: (M, 4g, 4g) float32 logits over the network's input, for ``mask_input`` of the next call; SAM 2's
            are limited to -32..32, as by its own predictor.
    """

    masks: NDArray[Any]
    scores: NDArray[np.float32]
    low_res: NDArray[np.float32]


class PredictedBatch(NamedTuple):
    """Masks of several images: the fields of :class:`PredictedMasks` as lists with an entry for each image."""

    masks: list[NDArray[Any]]
    scores: list[NDArray[np.float32]]
    low_res: list[NDArray[np.float32]]


class Predictor:
    """Interactive segmentation with SAM and SAM 2, with the methods of ``SamPredictor`` and ``SAM2ImagePredictor``.

    ::

        predictor = Predictor(init_model(config, checkpoint))
        predictor.set_image(image)
        masks, scores, low_res = predictor.predict(point_coords=[[x, y]], point_labels=[1])

    :meth:`embed` and ``predict(..., embedding=...)`` work without :meth:`set_image`. Several threads may use predictors
    of one model, or one predictor with embeddings.

    Args:
        model: A :class:`PromptableSAM`; it is put into evaluation mode.
        mask_threshold: Logit above which a pixel is foreground. None: the ``threshold`` of the model's decoder, by
            default 0.
        outside: Handling of clicks and box corners outside the image, even by a rounding error: ``'error'`` raises an
            error, ``'clamp'`` moves them to the nearest point of the border.

    Raises:
        ConfigError: The model predicts no masks for clicks, or ``outside`` is neither ``'error'`` nor ``'clamp'``.
    """

    def __init__(self, model: PromptableSAM, mask_threshold: float | None = None, outside: Outside = "error") -> None:
        check_choice("Predictor", "outside", outside, get_args(Outside))
        if not isinstance(model, PromptableSAM):
            raise ConfigError(
                f"Predictor: {type(model).__name__} predicts no masks for clicks: take a config of PromptableSAM"
            )
        self.model = model.eval()
        self.mask_threshold = model.decode_head.logit_threshold if mask_threshold is None else mask_threshold
        self.outside: Outside = outside
        self._embedding: ImageEmbedding | None = None
        self._batch: list[ImageEmbedding] | None = None

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
        """Forget the image, or the batch of images."""
        self._embedding = self._batch = None

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encode an image for all predictions until the next call; see :meth:`embed`."""
        self.reset_image()
        self._embedding = self.embed(image, image_format)

    def set_image_batch(self, image_list: Sequence[NDArray[np.uint8]], image_format: str = "RGB") -> None:
        """Encode images for :meth:`predict_batch`; see :meth:`embed_batch`."""
        self.reset_image()
        self._batch = self.embed_batch(image_list, image_format)

    def embed(self, image: NDArray[np.uint8], image_format: str = "RGB") -> ImageEmbedding:
        """Encode an image as a value for :meth:`predict`.

        Args:
            image: (H, W, 3) uint8.
            image_format: Order of its channels, ``'RGB'`` or ``'BGR'``.

        Raises:
            DataError: Another shape or type, or an unknown format.
        """
        return self.embed_batch([image], image_format)[0]

    def embed_batch(self, image_list: Sequence[NDArray[np.uint8]], image_format: str = "RGB") -> list[ImageEmbedding]:
        """Encode images in one pass of the encoder.

        Args:
            image_list: (H, W, 3) uint8 each; their sizes may differ.
            image_format: Channel order of all images, ``'RGB'`` or ``'BGR'``.

        Returns:
            An embedding of each image, equal to that of :meth:`embed` up to rounding.

        Raises:
            DataError: ``image_list`` is empty, an image has another shape or dtype, or ``image_format`` is unknown.
        """
        return self.model.embed_batch(_as_rgb(image_list, image_format))

    def _current(self) -> ImageEmbedding:
        if self._embedding is None:
            found = "a batch is set: call predict_batch, or set_image first" if self._batch else "call set_image first"
            raise DataError(f"predictor: there is no image: {found}")
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
        side = 4 * (self.model.img_size // self.model.backbone.patch_size)
        given = read_prompts(point_coords, point_labels, box, mask_input, geometry.original, side, outside=self.outside)
        prompts = Prompts(
            points=None if given.points is None else geometry.to_input(self._tensor(given.points, 3)),
            labels=None if given.labels is None else self._tensor(given.labels, 2).long(),
            boxes=None if given.boxes is None else geometry.to_input(self._corners(given.boxes)).flatten(1),
            masks=None if given.mask is None else self._tensor(given.mask, 4),
        )
        predicted = self.model.decode(embedding.features, prompts, multimask_output, memory=embedding.memory)
        low_res = predicted.logits.float()
        masks = geometry.restore(low_res)
        if not return_logits:
            masks = masks > self.mask_threshold
        if (limit := self.model.decode_head.low_res_limit) is not None:
            low_res = low_res.clamp(-limit, limit)
        values = (masks, predicted.iou.float(), low_res)
        return PredictedMasks(*((value if given.many else value[0]).cpu().numpy() for value in values))

    def predict_batch(
        self,
        point_coords_batch: PromptBatch = None,
        point_labels_batch: PromptBatch = None,
        box_batch: PromptBatch = None,
        mask_input_batch: PromptBatch = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        embeddings: Sequence[ImageEmbedding] | None = None,
    ) -> PredictedBatch:
        """Predict masks for prompts on several images, as SAM 2's ``predict_batch`` does.

        Each list of prompts has an entry for each image, as :meth:`predict` takes it, or None for no such prompt.

        Args:
            point_coords_batch: Clicks.
            point_labels_batch: Labels of the clicks.
            box_batch: Boxes.
            mask_input_batch: Logits of an earlier call.
            multimask_output: See :meth:`predict`.
            return_logits: See :meth:`predict`.
            embeddings: Result of :meth:`embed_batch`; None: the images of :meth:`set_image_batch`.

        Returns:
            Lists with an entry for each image.

        Raises:
            DataError: No batch was set, a list has another length than the batch, or a prompt is invalid.
        """
        embeddings = self._batch if embeddings is None else embeddings
        if embeddings is None:
            raise DataError("predictor: there is no batch of images: call set_image_batch first")
        prompts = dict(
            point_coords=point_coords_batch, point_labels=point_labels_batch, box=box_batch, mask_input=mask_input_batch
        )
        for name, values in prompts.items():
            if values is not None and len(values) != len(embeddings):
                raise DataError(
                    f"predictor: {name}_batch has {len(values)} entries for {len(embeddings)} images: give one for "
                    "each image, None for no prompt"
                )
        found = []
        for index, embedding in enumerate(embeddings):
            own = {name: None if values is None else values[index] for name, values in prompts.items()}
            try:
                found.append(
                    self.predict(
                        **own, multimask_output=multimask_output, return_logits=return_logits, embedding=embedding
                    )
                )
            except DataError as error:
                raise DataError(f"{error} (image {index} of the batch)") from error
        return PredictedBatch(*map(list, zip(*found, strict=True)))

    def generate(
        self, image: NDArray[np.uint8], image_format: str = "RGB", preset: str | None = None, **settings: Any
    ) -> GeneratedMasks:
        """Find masks of everything in an image, without prompts; the image that was set stays.

        Args:
            image: (H, W, 3) uint8.
            image_format: Order of its channels, ``'RGB'`` or ``'BGR'``.
            preset: ``'sam'``, ``'sam2'``, ``'texturesam'``. None: the model's ``mask_generator``; if it has none,
                ``'sam'`` or ``'sam2'``, as its decoder is.
            **settings: Changes to the preset, see :class:`samplug.generation.GeneratorSettings`.

        Raises:
            DataError: Another shape or type of the image, or an unknown format.
            ConfigError: An unknown preset or setting, or a value out of range.
        """
        return MaskGenerator.of(self.model, preset, **settings).generate(self.model, _as_rgb([image], image_format)[0])

    def _corners(self, boxes: NDArray[Any]) -> torch.Tensor:
        return self._tensor(boxes, 2).reshape(-1, 2, 2)

    def _tensor(self, value: NDArray[Any], ndim: int) -> torch.Tensor:
        tensor = torch.as_tensor(value, dtype=torch.float32, device=self.device)
        return tensor if tensor.ndim == ndim else tensor[None]


def _as_rgb(images: Sequence[Any], image_format: str) -> list[NDArray[np.uint8]]:
    if image_format not in ("RGB", "BGR"):
        raise DataError(f"predictor: image_format={image_format!r} is neither 'RGB' nor 'BGR'")
    arrays = [np.asarray(image) for image in images]
    return arrays if image_format == "RGB" else [array[..., ::-1] for array in arrays]
