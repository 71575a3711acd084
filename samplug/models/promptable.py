"""Promptable segmentation: an encoder run once for an image, a decoder run for each set of prompts (Kirillov et al., 2023)."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from samplug.models.adapters import build_adapter
from samplug.models.backbones import build_encoder
from samplug.models.base import StrictInit
from samplug.models.decoders import Masks
from samplug.models.input_geometry import InputGeometry, InputMode, resize_masks
from samplug.models.interaction import passes, prompt_generator_of, run_interaction
from samplug.models.prompts import Prompts, PromptState, best_mask, has_instances, objects_of, training_objects
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, check_choice
from samplug.utils.rle import encode_rle

Cfg = dict[str, Any]
_CENTRE_CLICK = dict(type="PromptSimulator", box_prob=0.0, num_correction_points=0, click="center")


@MODELS.register_module()
class PromptableSAM(StrictInit, BaseModel):
    """SAM and SAM 2 (images) as they were published: an image, prompts, masks.

    Data flow, g = img_size / patch_size, B objects in N images, M masks of each::

        images (N, 3, S, S) -> encode() -> features ((N, 256, g, g),); of SAM 2 finer ones, too
        features, Prompts of B objects -> decode() -> Masks: logits (B, M, 4g, 4g), iou (B, M)

    Features may be kept: a click costs a run of the decoder only (:class:`samplug.apis.Predictor`). Training and tests simulate a user: prompts
    are made from the truth, answered, and corrected (:mod:`samplug.models.prompts`).

    Args:
        backbone: Config of an :class:`Encoder`: :class:`SAMViT`, :class:`SAM2Hiera`, or a :class:`CachedEncoder` of one of them. It is frozen
            unless it says ``frozen=False``, as in all models of samplug; to fine-tune the encoder say so.
        decode_head: Config of the decoder; None: :class:`SAMMaskDecoder` with all of its prompts. SAM 2: ``dict(type='SAM2MaskDecoder',
            prompts=True)``.
        train_prompts: Config of what prompts a training simulates; None: :class:`PromptSimulator`, SAM 2's rules.
        test_prompts: Of a test and a validation. None: a click at the object's centre.
        loss: Config of a loss. None: ``sam2_prompted``.
        adapter: Config of an :class:`Adapter` that acts inside the frozen encoder, :class:`LoRAAdapter`; None: none.
        frozen: Names of parts that are not trained, e.g. ``['decode_head.prompt_encoder']``; the encoder has a switch of its own.
        with_cp: Activation checkpointing of a session's steps: answers and losses are made again in the backward pass. For many objects in
            an image; the encoder has a switch of its own.
        frame: How images lie in the input, see :class:`samplug.models.input_geometry.InputGeometry`; ``'letterbox'`` as SAM, ``'squash'`` as SAM 2.
        data_preprocessor: None: :class:`LetterboxPreProcessor` for BGR images in 0..255 of sizes up to S x S, with the encoder's
            statistics.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint='sam_vit_b_01ec64.pth')``: the whole model from one file.

    Raises:
        ConfigError: ``frozen`` names no part, ``frame`` is unknown, or the adapter has features of its own, which prompts are not made for.
    """

    def __init__(
        self,
        backbone: Cfg,
        decode_head: Cfg | None = None,
        train_prompts: Cfg | None = None,
        test_prompts: Cfg | None = None,
        loss: Cfg | None = None,
        adapter: Cfg | None = None,
        frozen: Sequence[str] = (),
        with_cp: bool = False,
        frame: InputMode = "letterbox",
        data_preprocessor: Cfg | None = None,
        init_cfg: Cfg | list[Cfg] | None = None,
    ) -> None:
        encoder = build_encoder(backbone)
        super().__init__(data_preprocessor=data_preprocessor or encoder.preprocessor(), init_cfg=init_cfg)
        self.backbone = encoder
        self.adapter = build_adapter(adapter, encoder)
        if self.adapter is not None and self.adapter.tap() is not None:
            raise ConfigError(
                f"PromptableSAM: {type(self.adapter).__name__} has maps of its own in place of the encoder's, which SAM's decoder is not made "
                f"for: use LoRAAdapter"
            )
        self.decode_head = MODELS.build(decode_head or dict(type="SAMMaskDecoder", prompts=True))
        self.train_prompts = MODELS.build(train_prompts or dict(type="PromptSimulator"))
        self.test_prompts = MODELS.build(test_prompts or _CENTRE_CLICK)
        self.loss_fn = MODELS.build(loss or dict(type="sam2_prompted"))
        check_choice("PromptableSAM", "frame", frame, get_args(InputMode))
        self.frame: InputMode = frame
        self.with_cp = with_cp
        for name in frozen:
            try:
                self.get_submodule(name).requires_grad_(False)
            except AttributeError as error:
                raise ConfigError(
                    f"PromptableSAM: frozen names {name!r}, and there is no such part: {error}"
                ) from error

    def memory_advice(self, cfg: Mapping[str, Any], activations: int) -> list[str]:
        """Settings that lower the memory of training, see :func:`samplug.engine.run_errors.memory_advice`."""
        corrections = getattr(self.train_prompts, "num_correction_points", 0)
        if self.with_cp or not corrections:
            return []
        return [
            f"model.with_cp=True: of the {corrections + 1} answers of an interaction one at a time is kept, and all are computed again in the "
            f"backward pass (about a quarter more time after the encoder)"
        ]

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

    def forward(self, inputs: Tensor, data_samples: Sequence[Any] | None = None, mode: str = "tensor") -> Any:
        """MMEngine's three ways to call a model.

        Args:
            inputs: (N, 3, S, S) normalised images.
            data_samples: N samples with a truth, see :meth:`loss` and :meth:`predict`.
            mode: ``'tensor'``: logits of the answer without prompts, (N, 1, S, S); ``'loss'``; ``'predict'``.

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
        """Loss terms of a simulated session for each image, with all of its objects.

        Args:
            inputs: (N, 3, S, S) normalised images.
            data_samples: N samples with ``gt_instances.masks`` or ``gt_sem_seg``, see :func:`objects_of`, of the images before they were
                padded, or after it. What is random depends on their ``draw`` (seed, epoch, sample) alone; without one it comes from torch's
                generator.

        Raises:
            ConfigError: A sample has no truth, or one of another size than its image.
        """
        features = self.encode(inputs, data_samples)
        objects = [training_objects(sample, self.img_size, inputs.device) for sample in data_samples]
        steps: list[tuple[Tensor, Tensor, Tensor | None]] = []
        chosen: list[slice] = []
        start = 0
        for index, (sample, own) in enumerate(zip(data_samples, objects, strict=True)):
            if len(own):
                maps = tuple(feature[index : index + 1] for feature in features)
                answers = [
                    masks
                    for _, masks in run_interaction(self, self.train_prompts, maps, own, prompt_generator_of(sample))
                ]
                steps += answers
                chosen += [slice(start, start + len(own))] * len(answers)
                start += len(own)
        if not steps:  # no object in the batch: a loss of zero that still reaches what is trained
            images = torch.arange(len(inputs), device=inputs.device)
            logits, iou, score = self.decode(features, Prompts(image_index=images))
            steps, chosen = [(logits[:0], iou[:0], None if score is None else score[:0])], [slice(0, 0)]
        return self.loss_fn(steps, torch.cat(objects), chosen, **(dict(with_cp=True) if self.with_cp else {}))

    def predict(self, inputs: Tensor, data_samples: Sequence[Any]) -> Sequence[Any]:
        """Answers to prompts that are made from the truth, as a user who knows the objects would give them.

        Args:
            inputs: (N, 3, S, S) normalised images.
            data_samples: N samples with ``ori_shape`` (H, W) and, at that size, ``gt_instances.masks`` or ``gt_sem_seg``, see
                :func:`objects_of`.

        Returns:
            The samples with ``pred_instances``: for each object ``answers``, the best mask after each of T prompts as COCO RLE of the
            image's size, and ``scores`` (T,), their predicted IoU. Where the truth is ``gt_sem_seg`` also ``seg_logits`` and
            ``pred_sem_seg``, (1, H, W), after the last prompt.

        Raises:
            ConfigError: A sample has no truth, or the pipeline resized its image in another way than ``frame`` says.
        """
        features = self.encode(inputs, data_samples)
        for index, sample in enumerate(data_samples):
            frame = InputGeometry(self.img_size, tuple(sample.ori_shape), self.frame)
            self._check_place(frame, sample)
            maps = tuple(feature[index : index + 1] for feature in features)
            self._predict_image(maps, frame, sample)
        return data_samples

    def _predict_image(self, features: tuple[Tensor, ...], frame: InputGeometry, sample: Any) -> None:
        objects = objects_of(sample, features[0].device)
        if objects.shape[-2:] != frame.original:
            raise ConfigError(
                f"PromptableSAM: the truth is {tuple(objects.shape[-2:])}, its image was {frame.original}: load masks after the resize in "
                f"the test pipeline, they are scored at the image's size"
            )
        generator = prompt_generator_of(sample)
        answers: list[list[dict[str, Any]]] = []
        scores = [objects.new_zeros(0, self.test_prompts.num_correction_points + 1, dtype=torch.float32)]
        full = features[0].new_zeros(0)
        for part in passes(len(objects), frame.original[0] * frame.original[1]):
            own = frame.place_objects(objects[part])
            masks, ious = [], []
            for _, (logits, iou, _) in run_interaction(self, self.test_prompts, features, own, generator):
                full = frame.restore(best_mask(logits, iou).float())
                masks.append([encode_rle(mask) for mask in (full[:, 0] > 0).cpu().numpy()])
                ious.append(iou.amax(dim=1).float())
            answers += map(list, zip(*masks, strict=True))
            scores.append(torch.stack(ious, dim=1))
        clicks = InstanceData(masks=answers, scores=torch.cat(scores))
        sample.pred_clicks = clicks
        sample.pred_instances = InstanceData(masks=[steps[-1] for steps in answers], scores=clicks.scores[:, -1])
        if not has_instances(sample):
            sample.set_data(
                {"seg_logits": PixelData(data=full[0]), "pred_sem_seg": PixelData(data=(full[0] > 0).long())}
            )

    def prompts_of(self, state: PromptState) -> Prompts:
        """Q simulated prompts for each of B objects of one image, as B * Q objects."""
        given = state.points.shape[2] > 0
        masks, side = state.mask, 4 * (self.img_size // self.backbone.patch_size)
        if masks is not None and masks.shape[-1] != side:  # not an answer, but a truth at a quarter of the input
            masks = F.interpolate(masks, (side, side), mode="bilinear", align_corners=False, antialias=True)
        return Prompts(
            points=state.points.flatten(0, 1) if given else None,
            labels=state.labels.flatten(0, 1) if given else None,
            boxes=None if state.boxes is None else state.boxes.flatten(0, 1),
            masks=masks,
        )

    def _check_place(self, frame: InputGeometry, sample: Any) -> None:
        """Stop where clicks would miss: at images that were stretched for a letterbox, or the reverse."""
        padding = sample.get("img_padding_size")
        if padding is None:
            return  # not from a preprocessor
        left, right, top, bottom = padding
        if (left, top) != (0, 0) or (self.img_size - bottom, self.img_size - right) != frame.filled:
            raise ConfigError(
                f"PromptableSAM: an image of {frame.original} fills {(self.img_size - bottom, self.img_size - right)} of the input, but "
                f"frame={self.frame!r} means {frame.filled}: set keep_ratio={self.frame == 'letterbox'} in the pipelines"
            )

    def enlarged(self, logits: Tensor) -> Tensor:
        """To the size of the network's input."""
        return resize_masks(logits, (self.img_size, self.img_size))

    def encode(self, images: Tensor, data_samples: Sequence[Any] | None = None) -> tuple[Tensor, ...]:
        """What :meth:`decode` takes of images: the encoder's maps, of SAM 2 as its decoder prepares them.

        Args:
            images: (N, 3, S, S) normalised.
            data_samples: Samples that say which images these are, for a :class:`CachedEncoder`; None: they are encoded anew.
        """
        return self.decode_head.image_features(self.backbone.stored_or_computed(images, data_samples))

    def decode(
        self, features: tuple[Tensor, ...], prompts: Prompts, multimask: bool = False, hide_absent: bool = False
    ) -> Masks:
        """Masks of B objects.

        Args:
            features: Of N images, from :meth:`encode`.
            prompts: Of B objects.
            multimask: Three masks for prompts that may mean several things, in place of one. SAM 2 takes the best of the three in evaluation
                also where the one is not stable.
            hide_absent: SAM 2: logits of objects that are not there become -1024, as in its training.

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
        options = dict(dynamic=True, hide_absent=hide_absent) if self.decode_head.has_object_score else {}
        logits, iou, score = self.decode_head.decode(chosen, sparse, dense, multimask, **options)
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
