"""Losses of binary segmentation, in float32 whatever the precision of the logits.

Targets are (N, 1, H, W) with 1 = foreground, 0 = background, 255 = no ground truth; no term counts such pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplug.models.losses.multi_class import IGNORE_INDEX
from samplug.registry import MODELS


def soft_iou_loss(logits: Tensor, target: Tensor, valid: Tensor, eps: float) -> Tensor:
    """Compute the mean of ``1 - (I + eps) / (U + eps)`` with ``I = sum p t``, ``U = sum(p + t) - I``.

    Args:
        logits: (N, C, H, W) float.
        target: (N, C, H, W) float in {0, 1}.
        valid: (N, C, H, W) float in {0, 1}, 0 where the pixel does not count.
        eps: Keeps the loss of an empty target with vanishing predictions finite; 0 in the released TS-SAM.
    """
    probability = logits.sigmoid() * valid
    intersection = (probability * target).sum(dim=(2, 3))
    union = (probability + target * valid).sum(dim=(2, 3)) - intersection
    return (1 - (intersection + eps) / (union + eps)).mean()


def balanced_bce(logits: Tensor, target: Tensor, valid: Tensor, sync: bool = False) -> Tensor:
    """Compute binary cross-entropy with each class weighted by the share of the other, counted over the whole batch.

    With P foreground and Q background pixels, T = P + Q: ``mean(-(Q/T) t log p - (P/T) (1 - t) log(1 - p))`` (TS-SAM's
    ``bbce``). Zero when a class is absent.

    Args:
        logits: (N, C, H, W) float.
        target: (N, C, H, W) float in {0, 1}.
        valid: (N, C, H, W) float in {0, 1}, 0 where the pixel does not count.
        sync: Count P and Q over the batches of all ranks, so that N processes equal one with the global batch.
    """
    counts = torch.stack([(target * valid).sum(), valid.sum()])
    ranks = 1
    if sync and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(counts)
        ranks = torch.distributed.get_world_size()
    positive, total = counts[0], counts[1].clamp(min=1)
    share = positive / total
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    weighted = (1 - share) * target * log_p + share * (1 - target) * log_q
    # Gradients are averaged over ranks, hence the mean over this rank's share of the global number of pixels.
    return -(weighted * valid).sum() * ranks / total


def _prepare(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return float32 logits, {0, 1} target and validity, all (N, 1, H, W).

    Raises:
        ValueError: Shapes differ, e.g. because the model has several classes.
    """
    if logits.shape != target.shape:
        raise ValueError(
            f"a binary loss needs one logit per pixel: logits {tuple(logits.shape)}, target {tuple(target.shape)}"
        )
    valid = (target != IGNORE_INDEX).float()
    return logits.float(), (target == 1).float(), valid


@MODELS.register_module(name="bce_iou")
class BCEIoULoss(nn.Module):
    """Binary cross-entropy plus soft IoU loss, 1 : 1 (TS-SAM's ``iou``), finite on empty targets.

    Args:
        eps: Added to intersection and union.
    """

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the terms by name from (N, 1, H, W) logits and target."""
        logits, target, valid = _prepare(logits, target)
        bce = F.binary_cross_entropy_with_logits(logits, target, weight=valid, reduction="sum")
        return {
            "loss_bce": bce / valid.sum().clamp(min=1),
            "loss_iou": soft_iou_loss(logits, target, valid, self.eps),
        }


@MODELS.register_module(name="bce_iou_original")
class OriginalBCEIoULoss(BCEIoULoss):
    """The released TS-SAM loss without epsilon: NaN where an empty target meets logits below about -90."""

    def __init__(self) -> None:
        super().__init__(eps=0.0)


@MODELS.register_module(name="balanced_bce")
class BalancedBCELoss(nn.Module):
    """Class-balanced binary cross-entropy (TS-SAM's ``bbce``), see :func:`balanced_bce`.

    Args:
        sync: Count the classes over all ranks; False: in this rank's batch, as the released code.
    """

    def __init__(self, sync: bool = False) -> None:
        super().__init__()
        self.sync = sync

    def forward(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the terms by name from (N, 1, H, W) logits and target."""
        return {"loss_balanced_bce": balanced_bce(*_prepare(logits, target), sync=self.sync)}
