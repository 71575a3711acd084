"""Base class of the mask decoders of SAM and SAM 2."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models.base import SamplugModule
from samplug.models.decoders.two_way import ImageProjections, TwoWayTransformer
from samplug.models.layers import move_out, rename
from samplug.utils.errors import ConfigError, check_threshold

# SAM 2 replaces the logits of an object that it predicts to be absent by this value.
NO_OBJECT_LOGIT = -1024.0
# A single mask is stable if its areas above +delta and above -delta have at least this IoU (SAM 2).
_STABILITY_DELTA, _STABILITY_IOU = 0.05, 0.98


class Masks(NamedTuple):
    """Output of a mask decoder: M masks for each of P objects in each of N images.

    Attributes:
        logits: (N, P, M, 4g, 4g).
        iou: Predicted IoU (N, P, M).
        object_score: Logit of "there is an object" (N, P, 1); None if the decoder has no such output.
    """

    logits: Tensor
    iou: Tensor
    object_score: Tensor | None


class ImageMemory(NamedTuple):
    """Results of the decoder that depend on one image alone, reused by every prompt on it.

    They are valid for the weights that made them and for prompts without a mask.

    Attributes:
        positions: Position encoding of the coarsest map, (1, 256, g, g) float32.
        projections: See :class:`ImageProjections`, (1, g * g, 128) each.
    """

    positions: Tensor
    projections: ImageProjections

    def to(self, device: torch.device | str) -> "ImageMemory":
        """Return a copy on a device."""
        projections = ImageProjections(*(value.to(device) for value in self.projections))
        return ImageMemory(self.positions.to(device), projections)


class PromptedMaskDecoder(SamplugModule):
    """Base of the mask decoders: prompt encoder, two-way transformer, and masks from its output tokens.

    As a ``decode_head`` it takes no prompts: the dense input is the learned no-mask vector, and the first mask is the
    output. :meth:`embed_prompts` and :meth:`decode` together are the prompted decoder.

    Calls store nothing on the module, so several threads may use one decoder.

    Subclasses register transformers' modules with official names: a prompt encoder under ``prompts_name``, with a
    :class:`PositionEncoding` as its ``pe_layer``, and a mask decoder under ``decoder_name``, with a
    :class:`TwoWayTransformer`.

    Args:
        num_classes: Must be 1, since a mask shows one object.
        threshold: Probability above which a pixel is foreground.
        init_cfg: Passed to MMEngine's ``BaseModule``.

    Raises:
        ConfigError: ``num_classes`` is not 1, or ``threshold`` is not in [0, 1].

    Attributes:
        has_object_score: True if the decoder predicts whether there is an object.
        pads_boxes: True if a padding point follows the corners of a box, as in SAM 2.
        dynamic_multimask: Default of ``dynamic`` in the published predictor.
        low_res_limit: Absolute limit of the logits that the published predictor returns for the next call; None for no
            limit.
        generator_preset: Published settings for automatic masks, see :class:`samplug.generation.MaskGenerator`.
    """

    checkpoint_part = "decode_head"
    prompts_name: ClassVar[str]
    decoder_name: ClassVar[str]
    has_object_score: ClassVar[bool] = False
    pads_boxes: ClassVar[bool] = False
    dynamic_multimask: ClassVar[bool] = False
    low_res_limit: ClassVar[float | None] = None
    generator_preset: ClassVar[str] = "sam"

    def __init__(
        self, num_classes: int, threshold: float, init_cfg: dict[str, Any] | list[dict[str, Any]] | None
    ) -> None:
        super().__init__(init_cfg)
        if num_classes != 1:
            raise ConfigError(
                f"{type(self).__name__}: num_classes={num_classes}, but SAM's decoder tells one object from the rest: "
                f"use num_classes=1, or another decode_head"
            )
        check_threshold(type(self).__name__, threshold)
        self.num_classes = num_classes
        self.threshold = threshold

    @property
    def prompt_layers(self) -> Any:
        """The prompt encoder's modules."""
        return getattr(self, self.prompts_name)

    @property
    def mask_layers(self) -> Any:
        """The mask decoder's modules."""
        return getattr(self, self.decoder_name)

    @property
    def logit_threshold(self) -> float:
        """``threshold`` as a logit: 0 for 0.5, infinite for 0 and 1."""
        if self.threshold in (0, 1):
            return math.inf if self.threshold else -math.inf
        return math.log(self.threshold / (1 - self.threshold))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode without prompts.

        Args:
            features: Maps of the encoder.

        Returns:
            Logits (N, 1, 4g, 4g).
        """
        return self.decode(self.image_features(features)).logits[:, 0]

    def image_features(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Prepare the encoder's maps for :meth:`decode`, once for all prompts on an image; SAM's stay as they are."""
        return tuple(features)

    def pixel_embeddings(self, features: Sequence[Tensor]) -> Tensor:
        """Compute pixel embeddings without prompts: the map that the decoder multiplies by a mask's weights.

        A layer norm replaces the transformer. Losses on this map train encoder and upscaling before the decoder can
        use prompts.

        Args:
            features: Result of :meth:`image_features`.

        Returns:
            (N, 32, 4g, 4g).
        """
        image = F.layer_norm(features[-1].permute(0, 2, 3, 1), features[-1].shape[1:2]).permute(0, 3, 1, 2)
        return self._upscale(image, *features[:-1])

    def image_memory(self, features: Sequence[Tensor]) -> ImageMemory:
        """Compute the results that :meth:`decode` can reuse for every prompt on one image.

        Args:
            features: Result of :meth:`image_features` for one image (N = 1).

        Returns:
            Value for ``memory`` of :meth:`decode`, valid for the present weights.
        """
        image = features[-1]
        positions = self.image_positions(*image.shape[-2:])
        transformer: TwoWayTransformer = self.mask_layers.transformer
        # Contiguous as in encode_tokens: matrix products of other layouts round differently.
        without_mask = (image + self._no_mask()).contiguous()
        return ImageMemory(positions, transformer.project(without_mask, positions.to(image.dtype)))

    def embed_prompts(
        self,
        img_size: int,
        grid: int,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Embed prompts of P objects in each of N images; any kind may be absent, and points need labels.

        Args:
            img_size: Side S of the network's input in pixels.
            grid: Side g of the encoder's coarsest map.
            points: (N, P, K, 2), (x, y) in pixels of the input; points, labels and boxes may have any numeric dtype.
            labels: (N, P, K): 1 = on the object, 0 = not on it, 2 and 3 = first and second corner of a box, -1 = no
                point (padding).
            boxes: (N, P, 4), (x0, y0, x1, y1) in pixels of the input.
            masks: (N, 1, 4g, 4g) logits, one mask for each image; for several objects, repeat the features for each
                object.

        Returns:
            Sparse embeddings (N, P, tokens, 256), None without points and boxes; dense embeddings (N, 256, g, g), None
            without masks.

        Raises:
            ValueError: ``masks`` has another size, or is not of a floating point dtype.
        """
        if masks is not None and masks.shape[-3:] != (1, 4 * grid, 4 * grid):
            raise ValueError(f"prompts: masks are (N, 1, {4 * grid}, {4 * grid}), these are {tuple(masks.shape)}")
        if masks is not None and not masks.is_floating_point():
            raise ValueError(f"prompts: masks must be logits, found {masks.dtype}: give the output of an earlier call")
        embedded = []
        if points is not None and labels is not None:
            embedded.append(self._embed_padded(img_size, points, labels, pad=boxes is None))
        if boxes is not None:
            corners = boxes.unflatten(-1, (2, 2))
            labels = torch.tensor([2, 3], device=boxes.device).expand(corners.shape[:-1])
            embedded.append(self._embed_padded(img_size, corners, labels, pad=self.pads_boxes))
        sparse = torch.cat(embedded, dim=2) if embedded else None
        return sparse, None if masks is None else self.prompt_layers.mask_downscaling(masks)

    def _embed_padded(self, img_size: int, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        # Bool and uint8 cannot hold the label of padding, and half precision would shift points by pixels.
        points, labels = points.float(), labels.to(torch.int32)
        if pad:  # SAM was trained with a padding point wherever there is no box
            points, labels = F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=-1)
        return self.embed_points(img_size, points, labels)

    def embed_points(self, img_size: int, points: Tensor, labels: Tensor) -> Tensor:
        """Embed (..., 2) points with (...) labels as (..., 256), without padding; see :meth:`embed_prompts`."""
        layers, labels = self.prompt_layers, labels[..., None]
        places = layers.pe_layer(points + 0.5, (img_size, img_size))
        embedded = torch.where(labels == -1, layers.not_a_point_embed.weight, places)
        # A sum over all labels, not a choice: the exported graph is the same, and each embedding gets a gradient.
        for label, embedding in enumerate(layers.point_embeddings):
            embedded = embedded + (labels == label) * embedding.weight
        return embedded

    def decode(
        self,
        features: Sequence[Tensor],
        sparse: Tensor | None = None,
        dense: Tensor | None = None,
        multimask: bool = False,
        dynamic: bool = False,
        hide_absent: bool = False,
        memory: ImageMemory | None = None,
    ) -> Masks:
        """Predict masks, their IoU and, if the decoder has that output, whether there is an object.

        Args:
            features: Result of :meth:`image_features`; the coarsest map (N, 256, g, g) last.
            sparse: (N, P, tokens, 256); None: no points and boxes, P = 1.
            dense: (N or 1, 256, g, g); None: no mask.
            multimask: Return the three masks for ambiguous prompts in place of the single one.
            dynamic: Replace a single mask that is not stable (its areas above +0.05 and above -0.05 have an IoU below
                0.98) by the best of the three by predicted IoU, as SAM 2's predictor does. It concerns single masks in
                evaluation mode.
            hide_absent: Set the logits of objects without a positive score to -1024, as SAM 2 in training and tracking.
            memory: Result of :meth:`image_memory` for the one image in all rows of ``features``; None: none is reused.

        Returns:
            M = 3 or 1 masks of P objects in each image.

        Raises:
            ConfigError: ``hide_absent`` is set, and the decoder has no object score.
        """
        if hide_absent and not self.has_object_score:
            raise ConfigError(
                f"{type(self).__name__}: hide_absent=True needs an object score, which this decoder does not predict: "
                f"use SAM2MaskDecoder"
            )
        tokens, image = self.encode_tokens(features[-1], sparse, dense, memory)
        objects = tokens.shape[1]
        finer = [feature.repeat_interleave(objects, 0) for feature in features[:-1]]
        logits, iou, score = self._read(tokens, image, finer)
        logits, iou = _chosen(logits, iou, multimask, dynamic and not self.training)
        if hide_absent and score is not None:
            logits = torch.where(score[..., None, None] > 0, logits, NO_OBJECT_LOGIT)
        return Masks(logits, iou, score)

    def decode_above(
        self,
        features: Sequence[Tensor],
        sparse: Tensor,
        min_iou: float,
        multimask: bool = False,
        dynamic: bool = False,
        memory: ImageMemory | None = None,
    ) -> tuple[Masks, Tensor]:
        """Predict masks for many objects of one image, but only for objects that have a mask with a high predicted IoU.

        The masks equal those of :meth:`decode`. Other objects are not upscaled, which saves most of the decoder's
        work, unless ``dynamic`` needs the masks for its choice.

        Args:
            features: Result of :meth:`image_features` for one image.
            sparse: (1, P, tokens, 256).
            min_iou: Predicted IoU that at least one mask of an object must exceed.
            multimask: See :meth:`decode`; also for ``dynamic`` and ``memory``.

        Returns:
            Masks of K objects, (1, K, M, 4g, 4g), and their indices among the P objects, (K,) int64.
        """
        tokens, image = self.encode_tokens(features[-1], sparse, None, memory)
        iou = self.mask_layers.iou_prediction_head(tokens[:, :, 1 if self.has_object_score else 0])
        chosen = iou[0, :, 1:] if multimask else iou[0] if dynamic else iou[0, :, :1]
        kept = (chosen > min_iou).any(dim=1).nonzero()[:, 0]
        logits, iou, score = self._read(tokens[:, kept], image[kept], features[:-1])
        return Masks(*_chosen(logits, iou, multimask, dynamic), score), kept

    def _read(self, tokens: Tensor, image: Tensor, finer: Sequence[Tensor]) -> Masks:
        """Compute all masks from the transformer's output.

        Args:
            tokens: (N, P, T, 256), see :meth:`encode_tokens`.
            image: (N * P, 256, g, g), image tokens.
            finer: SAM 2's finer maps, of N * P objects or of one image.
        """
        layers = self.mask_layers
        upscaled = self._upscale(image, *finer).unflatten(0, tokens.shape[:2])
        score = None
        if self.has_object_score:
            score, tokens = layers.pred_obj_score_head(tokens[:, :, 0]), tokens[:, :, 1:]
        weights = torch.stack(
            [mlp(tokens[:, :, 1 + i]) for i, mlp in enumerate(layers.output_hypernetworks_mlps)], dim=2
        )
        logits = (weights @ upscaled.flatten(3)).unflatten(3, upscaled.shape[-2:])
        return Masks(logits, layers.iou_prediction_head(tokens[:, :, 0]), score)

    def encode_tokens(
        self, image: Tensor, sparse: Tensor | None, dense: Tensor | None, memory: ImageMemory | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the two-way transformer; arguments as for :meth:`decode`.

        Returns:
            Tokens (N, P, T, 256) in the order object score (SAM 2), IoU, masks, sparse prompts; and the image
            (N * P, 256, g, g).
        """
        layers = self.mask_layers
        names = (
            ("obj_score_token", "iou_token", "mask_tokens") if self.has_object_score else ("iou_token", "mask_tokens")
        )
        learned = torch.cat([getattr(layers, name).weight for name in names])
        objects = 1 if sparse is None else sparse.shape[1]
        tokens = learned.repeat(image.shape[0], objects, 1, 1)
        if sparse is not None:
            tokens = torch.cat([tokens, sparse], dim=2).to(learned.dtype)
        positions = self.image_positions(*image.shape[-2:]) if memory is None else memory.positions
        # A mask changes the image, so that projections made without one do not hold.
        projections = None if memory is None or dense is not None else memory.projections
        prompted = (image + (self._no_mask() if dense is None else dense)).repeat_interleave(objects, 0)
        encoded, image = layers.transformer(tokens.flatten(0, 1), prompted, positions.to(image.dtype), projections)
        return encoded.unflatten(0, (-1, objects)), image

    def image_positions(self, height: int, width: int) -> Tensor:
        """Encode the centres of the cells of a map, (1, 256, height, width) float32."""
        encoding = self.prompt_layers.pe_layer
        device = encoding.positional_encoding_gaussian_matrix.device
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        return encoding(torch.stack([x, y], dim=-1) + 0.5, (height, width)).permute(2, 0, 1)[None].contiguous()

    def _no_mask(self) -> Tensor:
        return self.prompt_layers.no_mask_embed.weight[:, :, None, None]

    def _upscale(self, image: Tensor, *finer: Tensor) -> Tensor:
        """Upscale (B, 256, g, g) to (B, 32, 4g, 4g), adding SAM 2's maps (B, 32, 4g, 4g) and (B, 64, 2g, 2g)."""
        first, norm, activation, second, _ = self.mask_layers.output_upscaling
        image = first(image)
        image = activation(norm(image + finer[1] if finer else image))
        image = second(image)
        return activation(image + finer[0] if finer else image)


def _chosen(logits: Tensor, iou: Tensor, multimask: bool, dynamic: bool) -> tuple[Tensor, Tensor]:
    """Select three masks for ambiguous prompts, or one mask, from all masks (N, P, M, h, w) and predicted IoUs."""
    if multimask:
        return logits[:, :, 1:], iou[:, :, 1:]
    return _stable_or_best(logits, iou) if dynamic else (logits[:, :, :1], iou[:, :, :1])


def _stable_or_best(logits: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """Choose the first of M masks (N, P, M, h, w) if it is stable, else the best of the others by predicted IoU."""
    single, single_iou = logits[:, :, :1], iou[:, :, :1]
    best_iou, best = iou[:, :, 1:].max(dim=2, keepdim=True)
    replacement = logits[:, :, 1:].gather(2, best[..., None, None].expand(-1, -1, -1, *logits.shape[-2:]))
    inner, outer = ((single > level).flatten(3).sum(dim=3).float() for level in (_STABILITY_DELTA, -_STABILITY_DELTA))
    stable = torch.where(outer > 0, inner / outer, 1.0) >= _STABILITY_IOU
    return torch.where(stable[..., None, None], single, replacement), torch.where(stable, single_iou, best_iou)


class PositionEncoding(nn.Module):
    """Random Fourier features of points, with a matrix that is stored and never trained."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))

    def forward(self, points: Tensor, shape: tuple[int, int]) -> Tensor:
        """Encode points (..., 2), (x, y), in a map or input of ``shape`` (height, width) as (..., dim) float32."""
        height, width = shape
        with torch.autocast(points.device.type, enabled=False):  # half precision would move points by pixels
            unit = points.float() / points.new_tensor([width, height], dtype=torch.float32)
            angles = 2 * math.pi * ((2 * unit - 1) @ self.positional_encoding_gaussian_matrix.float())
            return torch.cat([angles.sin(), angles.cos()], dim=-1)


def mask_downscaling(embedding: Any) -> nn.Sequential:
    """Return transformers' mask embedding as a sequence, as in the official models."""
    first, second = embedding.layer_norm1, embedding.layer_norm2
    return nn.Sequential(embedding.conv1, first, nn.GELU(), embedding.conv2, second, nn.GELU(), embedding.conv3)


def rename_transformer(transformer: Any) -> None:
    """Give the norms in transformers' two-way transformer their official names."""
    rename(transformer, layer_norm_final_attn="norm_final_attn")
    for layer in transformer.layers:
        rename(layer, **{f"layer_norm{index}": f"norm{index}" for index in (1, 2, 3, 4)})


def output_upscaling(decoder: Any) -> nn.Sequential:
    """Return transformers' upscaling layers as a sequence, as in the official models."""
    return nn.Sequential(
        move_out(decoder, "upscale_conv1"),
        move_out(decoder, "upscale_layer_norm"),
        nn.GELU(),
        move_out(decoder, "upscale_conv2"),
        nn.GELU(),
    )
