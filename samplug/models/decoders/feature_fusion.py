"""TS-SAM's feature fusion decoder (Yu et al., 2024, arXiv 2408.01835)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models.base import SamplugModule
from samplug.registry import MODELS
from samplug.utils.errors import check_threshold

_WIDTH = 128


@MODELS.register_module()
class FeatureFusionDecoder(SamplugModule):
    """Fuse maps at 4g, 2g and g to logits at 4g; parameter names are those of the released code.

    Args:
        num_classes: 1 gives one logit of the foreground, more give a logit per class.
        threshold: Probability above which a pixel is foreground (``num_classes=1``).
        init_cfg: Passed to MMEngine's ``BaseModule``.
    """

    checkpoint_part = "decode_head"

    def __init__(
        self,
        num_classes: int = 1,
        threshold: float = 0.5,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_threshold("FeatureFusionDecoder", threshold)
        self.num_classes = num_classes
        self.threshold = threshold
        self.conv1 = _conv(256, _WIDTH)
        self.conv2 = _conv(_WIDTH, _WIDTH)
        self.conv4 = _conv(_WIDTH, _WIDTH)
        self.conv12_1 = _conv(2 * _WIDTH, _WIDTH)
        self.conv12_2 = _conv(2 * _WIDTH, _WIDTH)
        self.conv24_1 = _conv(2 * _WIDTH, _WIDTH)
        self.conv24_2 = _conv(2 * _WIDTH, _WIDTH)
        self.conv1_1 = nn.Conv2d(_WIDTH, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode.

        Args:
            features: (N, 128, 4g, 4g), (N, 128, 2g, 2g), (N, 256, g, g).

        Returns:
            Logits (N, num_classes, 4g, 4g).
        """
        f1, f2, f3 = features
        from_f2, from_f1 = _pool(self.conv2(f2)), _pool(self.conv4(f1))
        x = self.conv12_1(torch.cat([self.conv1(f3), from_f2], dim=1))
        x = self.conv12_2(torch.cat([_double(x), f2], dim=1))
        x = self.conv24_1(torch.cat([x, from_f1], dim=1))
        x = self.conv24_2(torch.cat([_double(x), f1], dim=1))
        return self.conv1_1(x)


def _conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2) + F.avg_pool2d(x, 2)


def _double(x: Tensor) -> Tensor:
    # align_corners=True as in the released code, unlike the final resize of the logits.
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
