"""The contract of adapters."""

from typing import Any, Protocol

from torch import Tensor

from samplug.models.backbones.base import Encoder, TokenTap
from samplug.models.base import SamplugModule
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

_FROM_ENCODER = ("embed_dims", "depth", "feature_channels", "patch_size")


class AdapterTap(TokenTap, Protocol):
    """An adapter's hooks into one forward pass of the encoder.

    Attributes:
        features: Maps that the decoder reads; set when the encoder's forward pass is over.
    """

    features: tuple[Tensor, ...]


class Adapter(SamplugModule):
    """Base of adapters: trained layers at, in or beside a frozen encoder.

    A model calls :meth:`attach` once in its constructor, before any weights are loaded, and :meth:`tap` for each
    forward pass::

        adapter.attach(encoder)
        ...
        tap = adapter.tap()
        features = encoder(images, tap=tap)
        logits = decode_head(features if tap is None else tap.features)

    Trained layers are registered in the adapter, also those that act inside the encoder. The encoder's parameters keep
    their official names, so that its files fit, and checkpoints hold the adapter under ``adapter.``.
    """

    checkpoint_part = "adapter"

    def attach(self, encoder: Encoder) -> None:
        """Build the adapter's layers with the encoder's sizes, and change the encoder if the method does.

        Raises:
            ConfigError: The adapter cannot work with this encoder.
        """
        raise NotImplementedError

    def tap(self) -> AdapterTap | None:
        """Return hooks for one forward pass; None: the adapter neither reads nor replaces tokens."""
        return None


def build_adapter(cfg: dict[str, Any] | None, encoder: Encoder) -> Any:
    """Build the adapter of a config and attach it to the encoder; None without a config.

    Raises:
        ConfigError: The config states sizes of the encoder, or the adapter cannot work with it.
    """
    if cfg is None:
        return None
    if stated := [name for name in _FROM_ENCODER if name in cfg]:
        raise ConfigError(f"adapter: {', '.join(stated)} is read from the encoder (backbone) now: remove it")
    adapter = MODELS.build(cfg)
    adapter.attach(encoder)
    return adapter
