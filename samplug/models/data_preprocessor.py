"""Normalising and padding, between the loader and the model."""

import json
from typing import Any

from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from samplug.features import pixel_key
from samplug.registry import MODELS
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmseg.structures import SegDataSample
    from mmseg.utils import stack_batch


@MODELS.register_module()
class LetterboxPreProcessor(ImgDataPreprocessor):
    """Normalise and pad images like mmseg's ``SegDataPreProcessor``, to the same size in training and testing.

    Images may have any size up to ``size``, also within a batch (mmseg's tests need images of equal size). After
    normalisation they are padded with 0, the mean, at the right and bottom. In training the ground truth is padded
    with 255 (ignored). In testing the ground truth is unchanged, and ``img_padding_size`` of each sample holds the
    padding.

    Args:
        size: (height, width) of the network's input.
        digest: Set ``pixels`` of each sample to the key of its image before normalisation, see
            :func:`samplug.features.pixel_key`; needed by :class:`CachedEncoder`.
        pad_val: Value of the padding, after normalisation.
        seg_pad_val: Value of the padding of the ground truth.
        **kwargs: Other arguments of MMEngine's ``ImgDataPreprocessor``: ``mean``, ``std``, ``bgr_to_rgb``, ...

    Attributes:
        settings: Normalisation and padding as text, which together with the image define the encoder's input.
    """

    def __init__(
        self,
        size: tuple[int, int],
        digest: bool = False,
        pad_val: float = 0,
        seg_pad_val: int = 255,
        **kwargs: Any,
    ) -> None:
        super().__init__(pad_value=pad_val, **kwargs)
        self.size, self.pad_val, self.seg_pad_val = size, pad_val, seg_pad_val
        self.digest = digest
        padding = dict(pad_val=pad_val) if pad_val else {}
        self.settings = json.dumps(dict(size=size, **padding, **kwargs), sort_keys=True, default=str)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Convert a batch of the loader to the model's input.

        Args:
            data: ``inputs``: N images (3, H, W), BGR in 0..255; ``data_samples``: N samples. In a test they may be
                missing: predictions then have the sizes of the images.
            training: Pad the ground truth too.

        Returns:
            ``inputs``, (N, 3, height, width) float32, and ``data_samples``.
        """
        if self.digest:
            for image, sample in zip(data["inputs"], data.get("data_samples") or (), strict=False):
                if "pixels" not in sample:  # a data worker may have computed it
                    sample.set_metainfo(dict(pixels=pixel_key(image, self.settings)))
        data = self.cast_data(data)
        images = [self._normalised(image) for image in data["inputs"]]
        samples = data.get("data_samples")
        if training:
            padded = dict(size=self.size, pad_val=self.pad_val, seg_pad_val=self.seg_pad_val)
            inputs, samples = stack_batch(images, samples, **padded)
            return dict(inputs=inputs, data_samples=samples)
        if samples is None:
            samples = [SegDataSample(metainfo=dict(ori_shape=tuple(image.shape[-2:]))) for image in images]
        inputs, padding = stack_batch(images, size=self.size, pad_val=self.pad_val)
        for sample, sizes in zip(samples, padding, strict=True):
            sample.set_metainfo(sizes)
        return dict(inputs=inputs, data_samples=list(samples))

    def _normalised(self, image: Tensor) -> Tensor:
        """Convert and normalise an image as mmseg does."""
        if self._channel_conversion and len(image) == 3:
            image = image[[2, 1, 0]]
        image = image.float()
        return (image - self.mean) / self.std if self._enable_normalize else image
