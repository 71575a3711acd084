"""Encoded image as a value, from which masks are predicted for any number of prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samplug.models.decoders import ImageMemory
from samplug.models.input_geometry import InputGeometry
from samplug.utils.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """Encoded image, made by :meth:`PromptableSAM.embed`: an immutable value that any number of threads may use.

    It can be kept, copied, pickled and moved. It is valid for the weights that made it: make a new one after training
    or loading weights. :class:`Predictor` notices changed weights of the same model, but not those of a copy.

    Attributes:
        features: Maps of the image as :meth:`PromptableSAM.encode` returns them, (1, C, h, w) each.
        geometry: Place of the image in the network's input.
        memory: Results of the decoder that depend on the image alone.
        weights_version: :meth:`PromptableSAM.weights_version` when it was made; None in copies.
    """

    features: tuple[Tensor, ...]
    geometry: InputGeometry
    memory: ImageMemory
    weights_version: tuple[int, int] | None = None

    def to(self, device: torch.device | str) -> "ImageEmbedding":
        """Return the embedding on a device."""
        features = tuple(feature.to(device) for feature in self.features)
        return replace(self, features=features, memory=self.memory.to(device), weights_version=None)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "weights_version": None}  # it means nothing in another process


@torch.no_grad()
def embed_images(model: Any, images: Sequence[NDArray[np.uint8]]) -> list[ImageEmbedding]:
    """Encode images in one pass of the encoder; see :meth:`PromptableSAM.embed_batch`.

    Args:
        model: A :class:`PromptableSAM`.
        images: (H, W, 3) uint8 RGB each.

    Raises:
        DataError: ``images`` is empty, or an image has another shape or dtype.
    """
    arrays = [checked_image(image) for image in images]
    if not arrays:
        raise DataError("embed: the batch has no image")
    geometries = [InputGeometry(model.img_size, (len(array), len(array[0])), model.geometry) for array in arrays]
    version, device = model.weights_version(), next(model.parameters()).device
    inputs = [
        model.normalise(geometry.fit(array, model.backbone.interpolation).to(device))
        for array, geometry in zip(arrays, geometries, strict=True)
    ]
    features = model.encode(torch.cat(inputs))
    embeddings = []
    for index, geometry in enumerate(geometries):
        # Copy: a view of one image would keep the whole batch in memory and in files.
        own = features if len(arrays) == 1 else tuple(feature[index : index + 1].clone() for feature in features)
        embeddings.append(ImageEmbedding(own, geometry, model.decode_head.image_memory(own), version))
    return embeddings


def checked_image(image: Any) -> NDArray[np.uint8]:
    """Return an image as an array.

    Raises:
        DataError: It is not (H, W, 3) uint8 with at least one pixel.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"embed: images must be (H, W, 3) uint8, found {image.shape} {image.dtype}: convert it first")
    return image
