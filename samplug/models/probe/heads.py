"""Linear classifiers over pooled features, all trained at once."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from samplug.checkpoints.filled import require_filled
from samplug.models.base import InitCfg, SamplugModule
from samplug.utils.errors import ConfigError
from samplug.utils.text import listed


class ProbeHead(nn.Linear):
    """Linear classifier of one pooling with a learning rate of its own.

    Attributes:
        pooling: Name of the pooling that it reads.
        lr_mult: Factor of the optimiser's learning rate; the optimiser's constructor reads it.
    """

    def __init__(self, pooling: str, in_features: int, num_classes: int, lr_mult: float) -> None:
        super().__init__(in_features, num_classes)
        self.pooling = pooling
        self.lr_mult = lr_mult


class ProbeHeads(SamplugModule):
    """One linear classifier for each pooling and learning rate.

    Heads are ordered by pooling, then by learning rate, as both are given. They share no parameter, so each one is
    trained as if it were alone. ``chosen`` is filled by validation (:class:`HeadSelectionHook`).

    Args:
        dims: Length of each pooling by name.
        num_classes: Number of classes.
        lr_mults: Factors of the optimiser's learning rate; there is a head for each.
        init_std: Standard deviation of the initial weights, with biases of 0 (DINOv2: 0.01). None: PyTorch's default.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)``. A single head also takes a file of ``weight`` and
            ``bias`` alone, such as DINOv2's released heads: ``'cls+mean'`` for 1 layer, ``'last4+mean'`` for 4.

    Attributes:
        linears: The heads.
        names: Names of the heads, with the learning rates of a training; see :func:`head_name`.
        chosen: (1,) int64, index of the chosen head; (0,) before the first choice.

    Raises:
        ConfigError: A setting is wrong, or two heads have one name.
    """

    checkpoint_part = "head"
    chosen: Tensor

    def __init__(
        self,
        dims: Mapping[str, int],
        num_classes: int,
        lr_mults: Sequence[float] = (1.0,),
        init_std: float | None = None,
        init_cfg: InitCfg = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_classes < 2:
            raise ConfigError(f"probe: num_classes={num_classes} is not 2 or more")
        if not lr_mults or min(lr_mults) <= 0 or len(set(lr_mults)) < len(lr_mults):
            raise ConfigError(f"probe: lr_mults={lr_mults!r} must be one or more different positive numbers")
        self.num_classes = num_classes
        self.init_std = init_std
        grid = [(pooling, lr_mult) for pooling in dims for lr_mult in lr_mults]
        self.linears: Any = nn.ModuleList(
            ProbeHead(pooling, dims[pooling], num_classes, lr_mult) for pooling, lr_mult in grid
        )
        self.names = [head_name(pooling, lr_mult) for pooling, lr_mult in grid]
        self.register_buffer("chosen", torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.linears)

    def filled_state(self) -> list[str]:
        return ["chosen"]

    def init_weights(self) -> None:
        """Draw weights from N(0, ``init_std``), or leave PyTorch's, and load the file of ``init_cfg``."""
        if self.init_std is not None:
            for head in self.linears:
                nn.init.normal_(head.weight, std=self.init_std)
                nn.init.zeros_(head.bias)
        super().init_weights()

    def set_rates(self, rates: Sequence[float]) -> None:
        """Name the heads by their learning rates.

        Args:
            rates: Initial learning rate of each head, as the optimiser applies it.

        Raises:
            ConfigError: Two heads have one name, since rates differ behind the fifth decimal.
        """
        names = [head_name(head.pooling, rate) for head, rate in zip(self.linears, rates, strict=True)]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            equal = [f"{rate:.3g}" for name, rate in zip(names, rates, strict=True) if name == twice[0]]
            raise ConfigError(
                f"probe: {len(equal)} heads are named {twice[0]}: their learning rates {listed(equal)} are equal at 5 "
                "decimals, as published names have them; remove all but one of model.head.lr_mults, or raise the batch "
                "size"
            )
        self.names = names

    def choose(self, index: int) -> None:
        """Make a head the one that predicts."""
        self.chosen = torch.tensor([index], device=self.chosen.device)

    def chosen_index(self) -> int | None:
        """Return the index of the head that predicts; None: several heads, and none was chosen yet."""
        if len(self) == 1:
            return 0
        return int(self.chosen) if self.chosen.numel() else None

    def require_chosen(self) -> int:
        """Return the index of the head that predicts.

        Raises:
            EmptyStateError: There are several heads, and none was chosen.
        """
        if len(self) > 1:
            require_filled(self, "no head was chosen yet: take a checkpoint that was written after a validation")
        return self.chosen_index() or 0

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Compute the logits of all heads in float32, also in mixed precision.

        Args:
            features: (N, D) float32 by pooling.

        Returns:
            (N, K) for each head.
        """
        return [self.logits(features, index) for index in range(len(self))]

    def logits(self, features: Mapping[str, Tensor], index: int) -> Tensor:
        """Compute the logits (N, K) of one head."""
        head = self.linears[index]
        feature = features[head.pooling]
        with torch.autocast(feature.device.type, enabled=False):
            return head(feature)


def head_name(pooling: str, rate: float) -> str:
    """Return DINOv2's published name of a head.

    ``classifier_{n}_blocks_avgpool_{True|False}_lr_{rate}`` for poolings of the class tokens of n blocks, with or
    without the mean; ``classifier_{pooling}_lr_{rate}`` for others. The rate has five decimals, with ``_`` for the
    point.
    """
    tokens = re.fullmatch(r"(?:cls|last(\d+))(\+mean)?", pooling)
    kind = f"{tokens[1] or 1}_blocks_avgpool_{bool(tokens[2])}" if tokens else pooling
    return f"classifier_{kind}_lr_{rate:.5f}".replace(".", "_")
