"""What an adapter of an encoder is."""

from typing import Any, Protocol

from torch import Tensor

from samplug.models.backbones.sam_vit import SAMViT, TokenTap
from samplug.models.base import SamplugModule
from samplug.registry import MODELS


class AdapterTap(TokenTap, Protocol):
    """An adapter's state for one forward pass of the encoder.

    Attributes:
        features: After the encoder's forward: the maps that the decoder reads.
    """

    features: tuple[Tensor, ...]


class Adapter(SamplugModule):
    """What is trained at, in or beside a frozen encoder. Subclasses override one of the two methods, or both.

    A model builds its adapter with the encoder's sizes, ``embed_dims``, ``depth``, ``feature_channels`` and ``patch_size``, as keyword
    arguments, calls :meth:`attach` once, before any weights are loaded, and :meth:`tap` for each forward pass::

        adapter.attach(backbone)
        ...
        tap = adapter.tap()
        features = backbone(images, tap=tap)
        logits = decode_head(features if tap is None else tap.features)

    All that is trained is registered in the adapter, also what acts inside the encoder: the encoder's parameters keep their official
    names, so that its files fit, and checkpoints hold the adapter under ``adapter.``.
    """

    checkpoint_part = "adapter"

    def attach(self, backbone: SAMViT) -> None:
        """Change the encoder, once."""

    def tap(self) -> AdapterTap | None:
        """The view of the token stream for one forward pass; None where there is nothing to read or to replace in it."""
        return None


def build_adapter(cfg: dict[str, Any] | None, encoder: Any) -> Any:
    """The adapter of a config, with the encoder's sizes, attached to it; None without a config."""
    if cfg is None:
        return None
    sizes = dict(
        embed_dims=encoder.embed_dims,
        depth=encoder.depth,
        feature_channels=encoder.out_channels,
        patch_size=encoder.patch_size,
    )
    adapter = MODELS.build(cfg, default_args=sizes)
    adapter.attach(encoder)
    return adapter
