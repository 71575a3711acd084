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

    Images may have any sizes up to ``size``, also within a batch (mmseg's needs equal ones in a test). They are padded
    at the right and below, after normalisation: images with 0, their mean; in training also the ground truth, with 255
    = ignore. In a test ``img_padding_size`` of each sample tells the padding, and the ground truth stays as it is.

    Args:
        size: (height, width) of the network's input.
        digest: Give each sample ``pixels``, the key of its image as it came from the loader, see
            :func:`samplug.features.pixel_key`; a :class:`CachedEncoder` needs it.
        **kwargs: Other arguments of mmseg's: ``mean``, ``std``, ``bgr_to_rgb``, ...

    Attributes:
        settings: What the encoder's input depends on beyond the image, as text.
    """

    def __init__(self, size: tuple[int, int], digest: bool = False, **kwargs: Any) -> None:
        super().__init__(size=size, test_cfg=dict(size=size), **kwargs)
        self.digest = digest
        self.settings = json.dumps(dict(size=size, **kwargs), sort_keys=True, default=str)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Turn a batch of the loader into a batch of the model.

        Args:
            data: ``inputs``: N images (3, H, W), BGR in 0..255; ``data_samples``: N samples. In a test they may be
                missing: predictions then have the sizes of the images.
            training: Pad the ground truth too.

        Returns:
            ``inputs``, (N, 3, height, width) float32, and ``data_samples``.
        """
        if self.digest:
            for image, sample in zip(data["inputs"], data.get("data_samples") or (), strict=False):
                if "pixels" not in sample:  # a data worker may have made it
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
