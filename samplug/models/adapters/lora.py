"""LoRA (Hu et al., 2021, arXiv 2106.09685) in a frozen SAM encoder, with peft's layers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from samplug.models.adapters.base import Adapter
from samplug.models.backbones.sam_vit import SAMViT
from samplug.models.layers import move_out
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

_NAME = "default"  # peft keeps several adapters in a layer, by name


@MODELS.register_module()
class LoRAAdapter(Adapter):
    """Low-rank updates of the encoder's linear layers: ``W x + (alpha / r) B A x``. B starts at zero, and so does the update.

    The updates are registered here, ``adapter.layers.blocks-0-attn-qkv.lora_A...``: the encoder's parameters keep their names.

    Args:
        r: Rank of the updates.
        alpha: Their scale, divided by ``r``.
        dropout: Probability with which an element of an update's input is dropped in training.
        target_modules: Last parts of the names of the layers: any of ``'qkv'``, ``'proj'``, ``'lin1'``, ``'lin2'``, ...
        embed_dims: With ``depth``, ``feature_channels`` and ``patch_size`` what every adapter is told of the encoder; not used, the layers have
            their sizes.
        depth: See ``embed_dims``.
        feature_channels: See ``embed_dims``.
        patch_size: See ``embed_dims``.
        init_cfg: Passed to MMEngine's ``BaseModule``.
    """

    def __init__(
        self,
        r: int = 8,
        alpha: int = 16,
        dropout: float = 0.0,
        target_modules: Sequence[str] = ("qkv",),
        embed_dims: int | None = None,
        depth: int | None = None,
        feature_channels: int | None = None,
        patch_size: int | None = None,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.r = r
        self.alpha = alpha
        self.dropout = dropout
        self.target_modules = list(target_modules)
        self.layers = nn.ModuleDict()

    def attach(self, backbone: SAMViT) -> None:
        """Put the updates into the encoder.

        Raises:
            ConfigError: peft is not installed, the encoder is not frozen, or has no such layers.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ConfigError(f"LoRAAdapter needs peft ({error}): pip install 'samplug[peft]'") from error
        if not backbone.frozen:
            raise ConfigError(
                "LoRAAdapter: the encoder is not frozen, updates of low rank beside the whole are of no use: set frozen=True in the "
                "backbone (or leave it out), or remove the adapter"
            )
        try:
            config = LoraConfig(
                r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=self.target_modules
            )
            inject_adapter_in_model(config, backbone, _NAME)
        except ValueError as error:
            raise ConfigError(f"LoRAAdapter: {error}") from error
        wrapped = {name: layer for name, layer in backbone.named_modules() if hasattr(layer, "base_layer")}
        for name, layer in wrapped.items():
            owner, _, attribute = name.rpartition(".")
            block = backbone.get_submodule(owner)
            # The encoder's code calls peft's layer; what is registered there is still its own, which peft's layer calls.
            base = move_out(layer, "base_layer")
            setattr(block, attribute, base)
            aliases = [name for name, value in vars(block).items() if value is base]  # where it was renamed
            vars(block).update(dict.fromkeys([attribute, *aliases], layer))
            self.layers[name.replace(".", "-")] = layer

    @torch.no_grad()
    def updates(self) -> dict[str, Tensor]:
        """``alpha / r B A`` by the name of the encoder's weight, shaped as it; added there, they give the same encoder without adapter."""
        return {
            f"{name.replace('-', '.')}.weight": layer.get_delta_weight(_NAME)  # type: ignore[operator]
            for name, layer in self.layers.items()
        }
