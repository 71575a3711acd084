"""LoRA (Hu et al., 2021, arXiv 2106.09685) in a frozen encoder, with peft's layers."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from samplug.models.adapters.base import Adapter
from samplug.models.backbones.base import Encoder
from samplug.models.base import InitCfg
from samplug.models.layers import move_out
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

_NAME = "default"  # peft keeps several adapters in a layer, by name


@MODELS.register_module()
class LoRAAdapter(Adapter):
    """Low-rank updates of the encoder's linear layers: ``W x + (alpha / r) B A x``.

    B starts at zero, and so does the update. The updates are registered in the adapter, under
    ``adapter.layers.blocks-0-attn-qkv.lora_A...``: the encoder's parameters keep their names.

    Args:
        r: Rank of the updates.
        alpha: Scale of the updates, which is divided by ``r``.
        dropout: Probability with which an element of an update's input is dropped in training.
        target_modules: Last parts of the names of linear layers: any of ``'qkv'``, ``'proj'``, ``'lin1'``, ``'lin2'``,
            ...; other kinds of layers, such as the patch embedding's convolution ``proj``, are left as they are.
        init_cfg: Passed to MMEngine's ``BaseModule``.
    """

    def __init__(
        self,
        r: int = 8,
        alpha: int = 16,
        dropout: float = 0.0,
        target_modules: Sequence[str] = ("qkv",),
        init_cfg: InitCfg = None,
    ) -> None:
        super().__init__(init_cfg)
        self.r = r
        self.alpha = alpha
        self.dropout = dropout
        self.target_modules = list(target_modules)
        self.layers = nn.ModuleDict()

    def attach(self, encoder: Encoder) -> None:
        """Put the updates into the encoder.

        Raises:
            ConfigError: peft is not installed, the encoder is not frozen, or it has no such linear layers.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ConfigError(f"LoRAAdapter needs peft ({error}): pip install 'samplug[peft]'") from error
        if not encoder.frozen:
            raise ConfigError(
                "LoRAAdapter: the encoder is not frozen, so low-rank updates beside it are of no use: set frozen=True "
                "in the backbone (or leave it out), or remove the adapter"
            )
        # Exact names: peft takes lists as suffixes, which may also match layers of other kinds.
        targets = "|".join(map(re.escape, self._targets(encoder)))
        try:
            config = LoraConfig(r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=targets)
            inject_adapter_in_model(config, encoder, _NAME)
        except ValueError as error:
            raise ConfigError(f"LoRAAdapter: {error}") from error
        wrapped = {name: layer for name, layer in encoder.named_modules() if hasattr(layer, "base_layer")}
        for name, layer in wrapped.items():
            owner, _, attribute = name.rpartition(".")
            block = encoder.get_submodule(owner)
            # The encoder's code calls peft's layer, which calls the original one; the encoder registers the original.
            base = move_out(layer, "base_layer")
            setattr(block, attribute, base)
            aliases = [name for name, value in vars(block).items() if value is base]  # names before a renaming
            vars(block).update(dict.fromkeys([attribute, *aliases], layer))
            self.layers[name.replace(".", "-")] = layer

    def _targets(self, encoder: Encoder) -> list[str]:
        """Return the full names of the encoder's linear layers that ``target_modules`` name."""
        linear = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
        found = {part: [name for name in linear if f".{name}".endswith(f".{part}")] for part in self.target_modules}
        if not found or not all(found.values()):
            last = sorted({name.rpartition(".")[2] for name in linear})
            raise ConfigError(
                f"LoRAAdapter: target_modules={self.target_modules} are not linear layers of {type(encoder).__name__}; "
                + (f"it has {', '.join(last)}" if last else f"it has none: {encoder.no_taps}")
            )
        return sorted({name for names in found.values() for name in names})

    @torch.no_grad()
    def updates(self) -> dict[str, Tensor]:
        """Return ``alpha / r B A`` by the name of the encoder's weight; added to it, they replace the adapter."""
        return {
            f"{name.replace('-', '.')}.weight": layer.get_delta_weight(_NAME)  # type: ignore[operator]
            for name, layer in self.layers.items()
        }
