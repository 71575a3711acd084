"""Promptable segmentation: an encoder for the image, a decoder for each set of prompts (Kirillov et al., 2023)."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import is_distributed
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import InstanceData, PixelData
from numpy.typing import NDArray
from torch import Tensor

from samplug.models.adapters import build_adapter
from samplug.models.backbones import build_encoder
from samplug.models.base import StrictInit
from samplug.models.decoders import ImageMemory, Masks
from samplug.models.image_embedding import ImageEmbedding, embed_images
from samplug.models.input_geometry import InputGeometry, InputMode, resize_masks
from samplug.models.interaction import object_chunks, prompt_generator_of, run_interaction
from samplug.models.losses import build_loss
from samplug.models.prompts import (
    Prompts,
    PromptState,
    best_mask,
    has_instances,
    objects_of,
    tight_boxes,
    training_objects,
)
from samplug.moved import renamed_arguments
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, check_choice
from samplug.utils.rle import encode_rle

Cfg = dict[str, Any]
_CENTRE_CLICK = dict(type="PromptSimulator", box_prob=0.0, num_correction_points=0, click="center")


@MODELS.register_module()
class PromptableSAM(StrictInit, BaseModel):
    """SAM and SAM 2 (images) as published: predict masks from an image and prompts.

    Data flow, g = img_size / patch_size, B objects in N images, M masks of each::

        images (N, 3, S, S) -> encode() -> features ((N, 256, g, g),); SAM 2: two finer maps before it
        features, Prompts of B objects -> decode() -> Masks: logits (B, M, 4g, 4g), iou (B, M)
        image (H, W, 3) uint8 -> embed() -> ImageEmbedding, for any number of decode() calls
        (:class:`samplug.apis.Predictor`)

    Training and testing simulate a user: prompts come from the ground truth, and further clicks correct errors of the
    predicted mask (:mod:`samplug.models.prompts`). Calls store nothing on the model.

    Args:
        backbone: Config of an :class:`Encoder`: :class:`SAMViT`, :class:`SAM2Hiera`, or a :class:`CachedEncoder` of one
            of them. It is frozen unless its config has ``frozen=False``, as in all models of samplug.
        decode_head: Config of the decoder; None: :class:`SAMMaskDecoder` with all prompts. SAM 2:
            ``dict(type='SAM2MaskDecoder', prompts=True)``. Its ``threshold`` is the probability above which a pixel is
            foreground.
        train_prompts: Config of the prompt simulator in training; None: :class:`PromptSimulator`, SAM 2's rules.
        test_prompts: Config of the prompt simulator in testing and validation; None: a click at the object's centre.
        mask_generator: Name of a preset (``'sam2'``, ``'texturesam'``) or config of a
            :class:`samplug.generation.MaskGenerator`: testing and validation generate automatic masks, without ground
            truth. None: they use ``test_prompts``.
        loss: Name or config of a loss. None: ``sam2_prompted``.
        adapter: Config of an :class:`Adapter` that acts inside the frozen encoder, such as :class:`LoRAAdapter`.
        frozen: Names of parts to freeze, e.g. ``['decode_head.prompt_encoder']``; the encoder has its own setting.
        with_cp: Activation checkpointing of the steps of an interaction: masks and losses are recomputed in the
            backward pass. Useful for many objects per image; the encoder has its own setting.
        geometry: Fit of images into the input, see :class:`InputGeometry`: ``'letterbox'`` for SAM, ``'squash'`` for
            SAM 2.
        dynamic_multimask: In evaluation, replace a single mask that is not stable by the best of the three, see
            :meth:`PromptedMaskDecoder.decode`. None: as in the published predictors, True for SAM 2 and False for SAM.
        data_preprocessor: None: :class:`LetterboxPreProcessor` for BGR images in 0..255 of sizes up to S x S, with the
            encoder's statistics.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='sam_vit_b_01ec64.pth')``: the whole model from one file.

    Raises:
        ConfigError: ``frozen`` names no part, ``geometry`` is unknown, or the adapter replaces the encoder's maps,
            which SAM's decoder needs.
    """

    @renamed_arguments(frame="geometry")
    def __init__(
        self,
        backbone: Cfg,
        decode_head: Cfg | None = None,
        train_prompts: Cfg | None = None,
        test_prompts: Cfg | None = None,
        mask_generator: str | Cfg | None = None,
        loss: str | Cfg | None = None,
        adapter: Cfg | None = None,
        frozen: Sequence[str] = (),
        with_cp: bool = False,
        geometry: InputMode = "letterbox",
        dynamic_multimask: bool | None = None,
        data_preprocessor: Cfg | None = None,
        init_cfg: Cfg | list[Cfg] | None = None,
    ) -> None:
        encoder = build_encoder(backbone)
        if adapter is None and "frozen" not in backbone and next(encoder.parameters(), None) is not None:
            print_log(
                "PromptableSAM: the encoder is frozen, as in all models now; frozen=False in its config trains it",
                "current",
                logging.WARNING,
            )
        super().__init__(data_preprocessor=data_preprocessor or encoder.preprocessor(), init_cfg=init_cfg)
        self.backbone = encoder
        self.adapter = build_adapter(adapter, encoder)
        if self.adapter is not None and self.adapter.tap() is not None:
            raise ConfigError(
                f"PromptableSAM: {type(self.adapter).__name__} has maps of its own in place of the encoder's, which "
                "SAM's decoder needs: use LoRAAdapter"
            )
        self.decode_head = MODELS.build(decode_head or dict(type="SAMMaskDecoder", prompts=True))
        self.train_prompts = MODELS.build(train_prompts or dict(type="PromptSimulator"))
        self.test_prompts = MODELS.build(test_prompts or _CENTRE_CLICK)
        if isinstance(mask_generator, str):
            mask_generator = dict(preset=mask_generator)
        self.mask_generator: Any = None
        if mask_generator is not None:
            self.mask_generator = MODELS.build({"type": "MaskGenerator", **mask_generator})
        self.loss_fn = build_loss(loss or "sam2_prompted")
        check_choice("PromptableSAM", "geometry", geometry, get_args(InputMode))
        self.geometry: InputMode = geometry
        self.dynamic_multimask: bool = (
            self.decode_head.dynamic_multimask if dynamic_multimask is None else dynamic_multimask
        )
        self.with_cp = with_cp
        for name in frozen:
            try:
                self.get_submodule(name).requires_grad_(False)
            except AttributeError as error:
                raise ConfigError(
                    f"PromptableSAM: frozen names {name!r}, which is no part of the model: {error}"
                ) from error

    def memory_advice(self, cfg: Mapping[str, Any], activations: int) -> list[str]:
        """Return settings that lower the memory of training, see :func:`samplug.engine.run_errors.memory_advice`."""
        corrections = getattr(self.train_prompts, "num_correction_points", 0)
        if self.with_cp or not corrections:
            return []
        return [
            f"model.with_cp=True: activations of one of the {corrections + 1} steps of an interaction are kept at a "
            "time, and all are computed again in the backward pass (about a quarter more time after the encoder)"
        ]

    @property
    def img_size(self) -> int:
        """Side of the network's input in pixels."""
        return self.backbone.img_size

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise an image and pad it at the right and bottom.

        Args:
            pixels: (3, h, w) RGB in 0..255 of any numeric dtype, h and w at most S.

        Returns:
            (1, 3, S, S) float.
        """
        if not pixels.is_floating_point():
            pixels = pixels.float()  # integers cannot hold the standard deviation
        mean, std = (pixels.new_tensor(value)[:, None, None] for value in (self.backbone.mean, self.backbone.std))
        height, width = pixels.shape[-2:]
        return F.pad((pixels - mean) / std, (0, self.img_size - width, 0, self.img_size - height))[None]

    def forward(self, inputs: Tensor, data_samples: Sequence[Any] | None = None, mode: str = "tensor") -> Any:
        """Run the model in one of MMEngine's three modes.

        Args:
            inputs: (N, 3, S, S) normalised images.
            data_samples: N samples with ground truth, see :meth:`loss` and :meth:`predict`.
            mode: ``'tensor'``: logits without prompts, (N, 1, S, S); ``'loss'``; ``'predict'``.

        Raises:
            ConfigError: Another mode, or samples are missing.
        """
        if mode == "tensor":
            images = torch.arange(len(inputs), device=inputs.device)
            return self.enlarged(self.decode(self.encode(inputs), Prompts(image_index=images)).logits)
        if mode not in ("loss", "predict") or data_samples is None:
            raise ConfigError(f"PromptableSAM: mode={mode!r} is not 'tensor', or 'loss' or 'predict' with data samples")
        return self.loss(inputs, data_samples) if mode == "loss" else self.predict(inputs, data_samples)

    def loss(self, inputs: Tensor, data_samples: Sequence[Any]) -> dict[str, Tensor]:
        """Compute the loss terms of a simulated interaction for each image, with all of its objects.

        Args:
            inputs: (N, 3, S, S) normalised images.
            data_samples: N samples with ``gt_instances.masks`` or ``gt_sem_seg``, see :func:`objects_of`, of the images
                before or after padding. Random choices depend on their ``sample_seed`` (seed, epoch, sample) alone;
                without one they come from torch's generator.

        Raises:
            ConfigError: A sample has no ground truth, or one of another size than its image.
        """
        features = self.encode(inputs, data_samples)
        objects = [training_objects(sample, self.img_size, inputs.device) for sample in data_samples]
        steps: list[tuple[Tensor, Tensor, Tensor | None]] = []
        chosen: list[slice] = []
        start = 0
        for index, (sample, own) in enumerate(zip(data_samples, objects, strict=True)):
            if len(own):
                maps = tuple(feature[index : index + 1] for feature in features)
                interaction = run_interaction(self, self.train_prompts, maps, own, prompt_generator_of(sample))
                own_steps = [masks for _, masks in interaction]
                steps += own_steps
                chosen += [slice(start, start + len(own))] * len(own_steps)
                start += len(own)
        if not steps:  # no object in the batch: a loss of zero that still reaches the trained parameters
            images = torch.arange(len(inputs), device=inputs.device)
            logits, iou, score = self.decode(features, Prompts(image_index=images))
            steps, chosen = [(logits[:0], iou[:0], None if score is None else score[:0])], [slice(0, 0)]
        losses = self.loss_fn(steps, torch.cat(objects), chosen, **(dict(with_cp=True) if self.with_cp else {}))
        if is_distributed():
            name = next(iter(losses))
            losses = {**losses, name: losses[name] + self._zero_of_prompts()}
        return losses

    def _zero_of_prompts(self) -> Tensor | int:
        """Return a zero that depends on all trained parameters of the prompt encoder, with a gradient of zero.

        A step embeds only the kinds of prompts that were drawn, and data parallelism waits for a gradient of each
        parameter. Sums of no elements are 0 whatever the values are.
        """
        parameters = self.decode_head.prompt_layers.parameters()
        return sum(parameter.flatten()[:0].sum() for parameter in parameters if parameter.requires_grad)

    def predict(self, inputs: Tensor, data_samples: Sequence[Any]) -> Sequence[Any]:
        """Predict masks for simulated prompts, which are made from the ground truth.

        With a ``mask_generator``, generate automatic masks instead, see
        :meth:`samplug.generation.GeneratedMasks.instances`.

        Args:
            inputs: (N, 3, S, S) normalised images.
            data_samples: N samples with ``ori_shape`` (H, W) and, at that size, ``gt_instances.masks`` or
                ``gt_sem_seg``, see :func:`objects_of`; with a ``mask_generator`` no ground truth is needed.

        Returns:
            The samples, with masks as COCO RLE of the image's size:

            * ``pred_instances``, mmdet's layout, after the last prompt: ``masks`` (a list of B), ``bboxes`` (B, 4)
              float (x0, y0, x1, y1) of the masks, x1 and y1 exclusive, zeros for an empty mask, ``labels`` (B,) zeros,
              and ``scores`` (B,), the predicted IoU.
            * ``pred_clicks``, after each of T prompts: ``masks``, a list of T for each object, and ``scores`` (B, T).
            * ``seg_logits`` and ``pred_sem_seg`` (1, H, W) after the last prompt, where the ground truth is
              ``gt_sem_seg``.

        Raises:
            ConfigError: A sample has no ground truth, or the pipeline did not resize its image as ``geometry`` demands.
        """
        features = self.encode(inputs, data_samples)
        for index, sample in enumerate(data_samples):
            geometry = InputGeometry(self.img_size, tuple(sample.ori_shape), self.geometry)
            self._check_place(geometry, sample)
            maps = tuple(feature[index : index + 1] for feature in features)
            if self.mask_generator is None:
                self._predict_image(maps, geometry, sample)
            else:
                memory = self.decode_head.image_memory(maps)
                self.mask_generator.annotate(self, ImageEmbedding(maps, geometry, memory), sample)
        return data_samples

    def _predict_image(self, features: tuple[Tensor, ...], geometry: InputGeometry, sample: Any) -> None:
        objects = objects_of(sample, features[0].device)
        if objects.shape[-2:] != geometry.original:
            raise ConfigError(
                f"PromptableSAM: the ground truth is {tuple(objects.shape[-2:])}, its image was {geometry.original}: "
                "load masks after the resize in the test pipeline, since they are scored at the image's size"
            )
        generator = prompt_generator_of(sample)
        clicks: list[list[dict[str, Any]]] = []
        scores = [objects.new_zeros(0, self.test_prompts.num_correction_points + 1, dtype=torch.float32)]
        boxes = [scores[0].new_zeros(0, 4)]
        full = decided = features[0].new_zeros(0)
        for part in object_chunks(len(objects), geometry.original[0] * geometry.original[1]):
            own = geometry.place_objects(objects[part])
            masks, ious = [], []
            for _, (logits, iou, _) in run_interaction(self, self.test_prompts, features, own, generator):
                full = geometry.restore(best_mask(logits, iou).float())
                decided = full > self.decode_head.logit_threshold
                masks.append([encode_rle(mask) for mask in decided[:, 0].cpu().numpy()])
                ious.append(iou.amax(dim=1).float())
            clicks += map(list, zip(*masks, strict=True))
            scores.append(torch.stack(ious, dim=1))
            boxes.append(_exclusive_boxes(decided))
        sample.pred_clicks = InstanceData(masks=clicks, scores=torch.cat(scores))
        sample.pred_instances = InstanceData(
            masks=[masks[-1] for masks in clicks],
            bboxes=torch.cat(boxes),
            labels=objects.new_zeros(len(objects), dtype=torch.long),
            scores=sample.pred_clicks.scores[:, -1],
        )
        if not has_instances(sample):
            sample.set_data({"seg_logits": PixelData(data=full[0]), "pred_sem_seg": PixelData(data=decided[0].long())})

    def prompts_of(self, state: PromptState) -> Prompts:
        """Flatten Q simulated prompts for each of B objects of one image to prompts of B * Q objects."""
        given = state.points.shape[2] > 0
        masks, side = state.mask, 4 * (self.img_size // self.backbone.patch_size)
        if masks is not None and masks.shape[-1] != side:  # ground truth at a quarter of the input, not a prediction
            masks = F.interpolate(masks, (side, side), mode="bilinear", align_corners=False, antialias=True)
        return Prompts(
            points=state.points.flatten(0, 1) if given else None,
            labels=state.labels.flatten(0, 1) if given else None,
            boxes=None if state.boxes is None else state.boxes.flatten(0, 1),
            masks=masks,
        )

    def _check_place(self, geometry: InputGeometry, sample: Any) -> None:
        """Raise an error where clicks would miss: for an image that was stretched for a letterbox, or the reverse."""
        padding = sample.get("img_padding_size")
        if padding is None:
            return  # not from a preprocessor
        left, right, top, bottom = padding
        if (left, top) != (0, 0) or (self.img_size - bottom, self.img_size - right) != geometry.filled:
            raise ConfigError(
                f"PromptableSAM: an image of {geometry.original} fills "
                f"{(self.img_size - bottom, self.img_size - right)} of the input, but geometry={self.geometry!r} means "
                f"{geometry.filled}: set keep_ratio={self.geometry == 'letterbox'} in the pipelines"
            )

    def enlarged(self, logits: Tensor) -> Tensor:
        """Resize logits (N, M, h, w) to the size of the network's input."""
        return resize_masks(logits, (self.img_size, self.img_size))

    def encode(self, images: Tensor, data_samples: Sequence[Any] | None = None) -> tuple[Tensor, ...]:
        """Encode images for :meth:`decode`: the encoder's maps; those of SAM 2 after its decoder has prepared them.

        Args:
            images: (N, 3, S, S) normalised.
            data_samples: Samples that identify the images for a :class:`CachedEncoder`; None: they are encoded anew.
        """
        return self.decode_head.image_features(self.backbone.stored_or_computed(images, data_samples))

    def embed(self, image: NDArray[np.uint8]) -> ImageEmbedding:
        """Encode one image as a value for any number of prompts; the model should be in evaluation mode.

        Args:
            image: (H, W, 3) uint8 RGB, of any size.

        Raises:
            DataError: Another shape or type.
        """
        return self.embed_batch([image])[0]

    def embed_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[ImageEmbedding]:
        """Encode images of any sizes in one pass of the encoder; see :meth:`embed`.

        Raises:
            DataError: ``images`` is empty, or an image has another shape or dtype.
        """
        return embed_images(self, images)

    def weights_version(self) -> tuple[int, int]:
        """Return a number of this model and one that changes whenever its parameters are written to."""
        tensors = (tensor for tensor in self.parameters() if not tensor.is_inference())
        return id(self), sum(tensor._version for tensor in tensors)

    def decode(
        self,
        features: tuple[Tensor, ...],
        prompts: Prompts,
        multimask: bool = False,
        hide_absent: bool = False,
        dynamic: bool | None = None,
        memory: ImageMemory | None = None,
    ) -> Masks:
        """Predict masks of B objects.

        Args:
            features: Result of :meth:`encode` for N images.
            prompts: Prompts of B objects.
            multimask: Predict three masks for ambiguous prompts in place of one.
            hide_absent: See :meth:`PromptedMaskDecoder.decode`; SAM 2 only.
            dynamic: See :meth:`PromptedMaskDecoder.decode`. None: ``dynamic_multimask``.
            memory: ``memory`` of the :class:`ImageEmbedding` that holds ``features`` (N = 1), which saves computation;
                None: nothing is reused.

        Returns:
            ``logits`` (B, M, 4g, 4g), ``iou`` (B, M), ``object_score`` (B, 1) or None.

        Raises:
            ConfigError: ``image_index`` is missing although there are several images and another number of objects,
                ``memory`` comes with several images, or the decoder cannot hide objects.
        """
        if memory is not None and len(features[0]) != 1:
            raise ConfigError(f"decode: memory belongs to one image, features to {len(features[0])}: leave memory out")
        chosen = self._of_objects(features, prompts)
        grid = self.img_size // self.backbone.patch_size
        one = {
            name: None if value is None else value[:, None]  # B images with one object each
            for name, value in (("points", prompts.points), ("labels", prompts.labels), ("boxes", prompts.boxes))
        }
        sparse, dense = self.decode_head.embed_prompts(self.img_size, grid, **one, masks=prompts.masks)
        dynamic = self.dynamic_multimask if dynamic is None else dynamic
        logits, iou, score = self.decode_head.decode(chosen, sparse, dense, multimask, dynamic, hide_absent, memory)
        return Masks(logits[:, 0], iou[:, 0], None if score is None else score[:, 0])

    def _of_objects(self, features: tuple[Tensor, ...], prompts: Prompts) -> tuple[Tensor, ...]:
        """Return the maps of each object's image."""
        images, objects = len(features[0]), len(prompts)
        if prompts.image_index is not None:
            return tuple(feature[prompts.image_index] for feature in features)
        if images not in (1, objects):
            raise ConfigError(
                f"prompts: {objects} objects in {images} images: set image_index, the image of each object"
            )
        return tuple(feature.expand(objects, -1, -1, -1) for feature in features)


def _exclusive_boxes(masks: Tensor) -> Tensor:
    """Return boxes (B, 4) of masks (B, 1, H, W) with exclusive ends, as mmdet's; zeros for empty masks."""
    boxes = tight_boxes(masks)
    boxes[:, 2:] += 1
    return boxes * (boxes[:, 2:] > boxes[:, :2]).all(dim=1, keepdim=True)
