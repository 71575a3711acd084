"""Batch norm of features."""

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from samplug.utils.errors import ConfigError

_MOMENTUM = 0.1  # PyTorch's default


class FeatureNorm(nn.BatchNorm1d):
    """Batch norm of features (N, D) without affine parameters, with eps 1e-6 as in MAE's linear probe.

    In training the statistics are those of all images of a step, in all processes: 8 processes with 32 images train as
    one with 256. Features need no gradient. A step of a single image, such as the rest of an epoch, is normalised by
    the running statistics.

    Args:
        dim: Length of the features.

    Raises:
        ConfigError: The first step of a training has a single image.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6, affine=False)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        if len(input) == 1 and get_world_size() == 1:
            return self._by_running(input)
        values = input.double()  # sums of squares of float32 would cancel
        sums = torch.cat([values.new_full((1,), len(values)), values.sum(dim=0), values.square().sum(dim=0)])
        all_reduce(sums)
        count, mean, square = sums[0], *(sums[1:] / sums[0]).chunk(2)
        variance = (square - mean.square()).clamp(min=0)
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.float(), _MOMENTUM)
        self.running_var.lerp_((variance * count / (count - 1)).float(), _MOMENTUM)
        return (input - mean.float()) * (variance + self.eps).rsqrt().float()

    def _by_running(self, features: Tensor) -> Tensor:
        if not self.num_batches_tracked:
            raise ConfigError(
                "LinearProbe: a batch of one image has no batch statistics: set a larger batch size, or norm=None"
            )
        return (features - self.running_mean) * (self.running_var + self.eps).rsqrt()
