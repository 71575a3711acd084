"""Encoded image as a value, from which masks are predicted for any number of prompts."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from samplug.models.decoders import ImageMemory
from samplug.models.input_geometry import InputGeometry


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
