"""Normalising images of one size."""

import json
from typing import Any

import torch
from mmengine.model import ImgDataPreprocessor

from samplug.registry import MODELS
from samplug.utils.errors import DataError


@MODELS.register_module()
class ProbePreProcessor(ImgDataPreprocessor):
    """Normalise a batch of images of one size; nothing is padded, since padding would be pooled.

    Records (vectors in place of images) are stacked and left as they are.

    Args:
        **kwargs: ``mean``, ``std``, ``bgr_to_rgb``, ..., see MMEngine's ``ImgDataPreprocessor``.

    Attributes:
        settings: Normalisation as text, which together with the image defines the encoder's input.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = json.dumps(kwargs, sort_keys=True, default=str)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Convert a batch of the loader to the model's input.

        Args:
            data: ``inputs``: N images (3, H, W) in 0..255, or N records (R,) float, in a list or in one tensor;
                ``data_samples``: N samples, or one for the batch; may be missing.
            training: Unused: training and tests are alike.

        Returns:
            ``inputs``, (N, 3, H, W) or (N, R) float32, and ``data_samples``.

        Raises:
            DataError: The images differ in size.
        """
        inputs = data["inputs"]
        if not isinstance(inputs, torch.Tensor):
            odd = next((index for index, one in enumerate(inputs) if one.shape != inputs[0].shape), None)
            if odd is not None:
                raise DataError(
                    f"probe: a batch has images of the shapes {tuple(inputs[0].shape)} and {tuple(inputs[odd].shape)}: "
                    "end the pipeline with a crop or a resize to one size"
                )
            inputs = torch.stack(list(inputs))
        # One transfer to the device for all images.
        data = self.cast_data({**data, "inputs": inputs})
        batch = data["inputs"]
        if batch.ndim == 4:
            batch = batch.flip(1) if self._channel_conversion else batch
            batch = batch.float()
            batch = (batch - self.mean) / self.std if self._enable_normalize else batch
        return dict(inputs=batch.float(), data_samples=data.get("data_samples"))
