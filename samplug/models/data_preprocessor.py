"""Normalising and padding, between the loader and the model."""

import json
from typing import Any

import torch

from samplug.checkpoints import digest
from samplug.models.backbones.cached import CachedEncoder
from samplug.registry import MODELS
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmseg.models import SegDataPreProcessor
    from mmseg.structures import SegDataSample


@MODELS.register_module()
class LetterboxPreProcessor(SegDataPreProcessor):
    """mmseg's ``SegDataPreProcessor`` that pads to one size in training and test alike.

    Images may be of any sizes up to ``size``, also within a batch (mmseg's asks for equal ones in a test). They are padded at
    the right and below, after normalisation: images with 0, their mean, truths of a training with 255 = ignore. In a test,
    ``img_padding_size`` of each sample says how much, and truths stay as they are.

    Args:
        size: (height, width) of the network's input.
        digest: Give each sample ``pixels``, a digest of its image as it came from the loader and of these settings; see :class:`CachedEncoder`.
        **kwargs: The rest of mmseg's: ``mean``, ``std``, ``bgr_to_rgb``, ...
    """

    def __init__(self, size: tuple[int, int], digest: bool = False, **kwargs: Any) -> None:
        super().__init__(size=size, test_cfg=dict(size=size), **kwargs)
        self.digest = digest
        # The network sees another image after another normalisation.
        self._settings = json.dumps(dict(size=size, **kwargs), sort_keys=True, default=str)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Batch of the loader -> batch of the model.

        Args:
            data: ``inputs``: N images (3, H, W), BGR in 0..255; ``data_samples``: N samples. In a test they may be missing: the
                predictions then have the sizes of the images.
            training: Pad the truths too.

        Returns:
            ``inputs``, (N, 3, height, width) float32, and ``data_samples``.
        """
        if self.digest:
            for image, sample in zip(data["inputs"], data.get("data_samples") or (), strict=False):
                sample.set_metainfo(dict(pixels=digest({self._settings: image}, [self._settings])))
        if training:
            return super().forward(data, training)
        images = data["inputs"]
        samples = data.get("data_samples")
        if samples is None:
            samples = [SegDataSample(metainfo=dict(ori_shape=tuple(image.shape[-2:]))) for image in images]
        singles = [
            super(LetterboxPreProcessor, self).forward(dict(inputs=[image], data_samples=[sample]))
            for image, sample in zip(images, samples, strict=True)
        ]
        return dict(
            inputs=torch.cat([single["inputs"] for single in singles]),
            data_samples=[single["data_samples"][0] for single in singles],
        )


def default_preprocessor(encoder: Any) -> dict[str, Any]:
    """Config of the preprocessor for BGR images in 0..255 of sizes up to an encoder's input, with its statistics."""
    size = (encoder.img_size, encoder.img_size)
    return dict(
        type="samplug.LetterboxPreProcessor",
        mean=encoder.mean,
        std=encoder.std,
        bgr_to_rgb=True,
        size=size,
        digest=isinstance(encoder, CachedEncoder),
    )
