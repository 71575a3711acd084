"""Dense prediction without prompts: an encoder, an adapter and a decoder."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import Tensor

from samplug.models.adapters import build_adapter
from samplug.models.backbones import build_encoder
from samplug.models.base import StrictInit
from samplug.models.losses import build_loss
from samplug.registry import MODELS
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmseg.structures import SegDataSample

Cfg = dict[str, Any]

# Flipped dimensions by the names of mmcv's RandomFlip.
_FLIPPED = {"horizontal": (-1,), "vertical": (-2,), "diagonal": (-2, -1)}


@MODELS.register_module()
class SAMSegmentor(StrictInit, BaseModel):
    """Encoder of SAM or SAM 2 adapted to dense prediction without prompts.

    It has the methods of mmseg's segmentors, with the same samples as input and output, so mmseg's tools work with it.
    It is not derived from them, since importing them takes as long as importing torch.

    Data flow, g = img_size / patch_size::

        images (N, 3, S, S) -> backbone (adapted) -> features -> decode_head (N, classes, h, w)
          -> bilinear -> logits (N, classes, S, S)

    ``features`` is a tuple of maps from the adapter's tap, or from the encoder if the adapter has no tap; its last map
    is (N, 256, g, g), see :class:`samplug.models.adapters.Adapter`.

    Args:
        backbone: Config of an :class:`Encoder`, e.g. :class:`SAMViT`; frozen unless its config has ``frozen=False``.
        adapter: Config of an :class:`Adapter`. None: the encoder as it is.
        decode_head: Config of a decoder that fits the features; ``num_classes`` is filled in. None:
            :class:`SAMMaskDecoder`.
        num_classes: 1: binary, a sigmoid over one logit. More: a softmax over that many classes.
        loss: Name or config of a loss. None: ``bce_iou`` for one class, ``cross_entropy`` for more.
        data_preprocessor: None: :class:`LetterboxPreProcessor` for BGR images in 0..255 of sizes up to S x S, with the
            encoder's statistics.
        init_cfg: Source of weights for the whole model, e.g. ``dict(type='Pretrained', checkpoint=...)``.
    """

    align_corners = False
    outputs = "logits"  # mmseg's own segmentors with one class return probabilities

    def __init__(
        self,
        backbone: Cfg,
        adapter: Cfg | None = None,
        decode_head: Cfg | None = None,
        num_classes: int = 1,
        loss: str | Cfg | None = None,
        data_preprocessor: Cfg | None = None,
        init_cfg: Cfg | list[Cfg] | None = None,
    ) -> None:
        encoder = build_encoder(backbone)
        super().__init__(data_preprocessor=data_preprocessor or encoder.preprocessor(), init_cfg=init_cfg)
        self.backbone = encoder
        self.adapter = build_adapter(adapter, encoder)
        self.decode_head = MODELS.build(
            decode_head or dict(type="SAMMaskDecoder"), default_args=dict(num_classes=num_classes)
        )
        # Tokens are (N, g, g, C): the maps that adapter and decoder see are channels-last already.
        self.to(memory_format=torch.channels_last)
        self.num_classes = num_classes
        if loss is None:
            loss = "bce_iou" if num_classes == 1 else "cross_entropy"
        self.loss_fn = build_loss(loss)

    @property
    def out_channels(self) -> int:
        """Number of logits per pixel; mmseg's test-time augmentation reads it."""
        return self.num_classes

    def extract_feat(
        self, inputs: Tensor, batch_data_samples: Sequence[SegDataSample] | None = None
    ) -> tuple[Tensor, ...]:
        """Compute the maps that the decoder reads: the tap's, or else the encoder's.

        Args:
            inputs: (N, 3, S, S) normalised images.
            batch_data_samples: Their samples, with which a :class:`CachedEncoder` finds the maps on disk.
        """
        tap = None if self.adapter is None else self.adapter.tap()
        features = self.backbone.stored_or_computed(inputs, batch_data_samples, tap)
        return features if tap is None else tap.features

    def encode_decode(self, inputs: Tensor, batch_data_samples: Sequence[SegDataSample] | None = None) -> Tensor:
        """Compute logits (N, classes, S, S) of normalised images (N, 3, S, S)."""
        logits = self.decode_head(self.extract_feat(inputs, batch_data_samples))
        return F.interpolate(logits, size=inputs.shape[-2:], mode="bilinear", align_corners=False)

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | Sequence[SegDataSample] | Tensor:
        """Compute the loss, predictions or logits of normalised images (N, 3, S, S).

        Args:
            inputs: Images.
            data_samples: N data samples.
            mode: ``'loss'``, see :meth:`loss`; ``'predict'``, see :meth:`predict`; or ``'tensor'``, see
                :meth:`encode_decode`.

        Raises:
            ValueError: ``mode`` is unknown.
        """
        if mode == "loss":
            return self.loss(inputs, data_samples or ())
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "tensor":
            return self.encode_decode(inputs, data_samples)
        raise ValueError(f"mode={mode!r} is none of 'loss', 'predict', 'tensor'")

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Compute loss terms by name.

        Args:
            inputs: (N, 3, S, S) normalised images.
            data_samples: N samples whose ``gt_sem_seg`` is (1, S, S): 0 / 1 (binary) or class indexes, 255 = ignore.
        """
        target = torch.stack([sample.gt_sem_seg.data for sample in data_samples])
        return self.loss_fn(self.encode_decode(inputs, data_samples), target)

    def predict(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> Sequence[SegDataSample]:
        """Predict at the original size of each image, see :meth:`postprocess_result`."""
        return self.postprocess_result(self.encode_decode(inputs, data_samples), data_samples)

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> Sequence[SegDataSample]:
        """Undo padding and flip, resize to ``ori_shape``, and decide the class of each pixel.

        Differs from mmseg's in that ``seg_logits`` stay logits in the binary case too: mmseg stores probabilities
        there, and its own test-time augmentation passes them through a sigmoid again.

        Args:
            seg_logits: (N, classes, S, S).
            data_samples: N samples with ``ori_shape`` (height, width); None leaves the size as it is.

        Returns:
            Samples with ``seg_logits`` (classes, H, W) and ``pred_sem_seg`` (1, H, W) of class indexes; binary ones
            also with ``frame_logits`` (1, S, S) if the image fills the input without padding, for scores at that size.
        """
        height, width = seg_logits.shape[-2:]
        if data_samples is None:
            data_samples = [SegDataSample(metainfo=dict(ori_shape=(height, width))) for _ in seg_logits]
        for logits, sample in zip(seg_logits.float(), data_samples, strict=True):
            left, right, top, bottom = sample.get("img_padding_size", sample.get("padding_size", (0, 0, 0, 0)))
            padded = any((left, right, top, bottom))
            logits = logits[:, top : height - bottom, left : width - right]
            if sample.get("flip", False):
                logits = logits.flip(_FLIPPED[sample.flip_direction])
            if self.num_classes == 1 and not padded:
                sample.frame_logits = logits
            logits = F.interpolate(logits[None], size=tuple(sample.ori_shape), mode="bilinear", align_corners=False)[0]
            if self.num_classes == 1:
                decision = (logits.sigmoid() > self.decode_head.threshold).long()
            else:
                decision = logits.argmax(dim=0, keepdim=True)
            sample.set_data({"seg_logits": PixelData(data=logits), "pred_sem_seg": PixelData(data=decision)})
        return data_samples
