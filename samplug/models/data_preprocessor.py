"""Normalising and padding, between the loader and the model."""

import json
from typing import Any

from torch import Tensor

from samplug.features import pixel_key
from samplug.registry import MODELS
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmseg.models import SegDataPreProcessor
    from mmseg.structures import SegDataSample
    from mmseg.utils import stack_batch


@MODELS.register_module()
class LetterboxPreProcessor(SegDataPreProcessor):
    """mmseg's ``SegDataPreProcessor`` that pads to one size in training and in tests.

    Images may have any size up to ``size``, also within a batch (mmseg's tests need images of one size). After
    normalisation they are padded with 0, their mean, at the right and at the bottom. In training the ground truth is
    padded too, with 255 (ignored). In a test it stays as it is, and ``img_padding_size`` of each sample holds the
    padding.

    Args:
        size: (height, width) of the network's input.
        digest: Set ``pixels`` of each sample, the key of its image as it came from the loader, see
            :func:`samplug.features.pixel_key`; a :class:`CachedEncoder` needs it.
        **kwargs: Other arguments of ``SegDataPreProcessor``: ``mean``, ``std``, ``bgr_to_rgb``, ...

    Attributes:
        settings: Normalisation and padding as text: the encoder's input depends on the image and on these.
    """

    def __init__(self, size: tuple[int, int], digest: bool = False, **kwargs: Any) -> None:
        super().__init__(size=size, test_cfg=dict(size=size), **kwargs)
        self.digest = digest
        self.settings = json.dumps(dict(size=size, **kwargs), sort_keys=True, default=str)

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
        if training:
            return super().forward(data, training)
        data = self.cast_data(data)
        images = [self._normalised(image) for image in data["inputs"]]
        samples = data.get("data_samples")
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
