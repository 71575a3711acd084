"""Small layers shared by encoders, adapters and decoders."""

import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels at each pixel of a (N, C, H, W) map, as in Segment Anything's neck (eps 1e-6)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def move_out(parent: nn.Module, name: str) -> nn.Module:
    """Take a child out of its parent's registry, to be registered in another place or under another name.

    The parent's own code, which may be another library's, still finds it as ``parent.name``.
    """
    child = parent._modules.pop(name)
    vars(parent)[name] = child
    return child  # type: ignore[return-value]
