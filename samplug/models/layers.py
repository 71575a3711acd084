"""Small layers shared by encoders, adapters and decoders."""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """Normalise the channels of each pixel of a map (N, C, H, W), as in Segment Anything's neck (eps 1e-6)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class MLP(nn.Module):
    """Apply linear layers with an activation between them; they are ``layers.0``, ``layers.1``, ... as in SAM's files.

    Args:
        sizes: Channels of the input, the hidden layers and the output.
        activation: Activation after each layer but the last.
        last: Activation after the last layer; None: no activation.
    """

    def __init__(
        self,
        *sizes: int,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        last: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.last = last
        self.layers = nn.ModuleList(nn.Linear(inner, outer) for inner, outer in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        x = self.layers[-1](x)
        return x if self.last is None else self.last(x)


def move_out(parent: nn.Module, name: str) -> nn.Module:
    """Unregister a child of a module and return it, to be registered in another place or under another name.

    The parent's code, which may be another library's, still finds it as ``parent.name``.
    """
    child = parent._modules.pop(name)
    vars(parent)[name] = child
    return child  # type: ignore[return-value]


def rename(module: nn.Module, **names: str) -> None:
    """Register children under other names (``old='new'``), with :func:`move_out`."""
    for old, new in names.items():
        module.add_module(new, move_out(module, old))
