"""Loss of prompted masks over all steps of a simulated interaction, in float32 whatever the precision of the logits."""

from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from samplug.models.input_geometry import resize_masks
from samplug.models.losses.multi_class import IGNORE_INDEX
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

# Logits of M masks of each of N objects (N, M, h, w), predicted IoU (N, M), object score (N, 1) or None.
Step: TypeAlias = tuple[Tensor, Tensor, Tensor | None]


def focal_loss(logits: Tensor, target: Tensor, alpha: float | None = 0.25, gamma: float = 2.0) -> Tensor:
    """Compute binary cross-entropy times ``(1 - p_t)^gamma``, and alpha or 1 - alpha by class (RetinaNet).

    Args:
        logits: Float, any shape.
        target: Float in {0, 1}, of a shape that broadcasts with that of ``logits``.
        alpha: Weight of the foreground; None: foreground and background count alike.
        gamma: Focusing parameter; 0 is plain cross-entropy.

    Returns:
        Float of at least 0, of the shape of ``logits``.
    """
    wrong = logits * (1 - 2 * target)  # logit of the wrong class
    # SAM 2's logits of absent objects, -1024, have a probability of 0, where a power below 1 has no gradient.
    probability = wrong.sigmoid().clamp(min=torch.finfo(wrong.dtype).tiny)
    loss = F.softplus(wrong) * probability**gamma
    return loss if alpha is None else loss * (alpha * target + (1 - alpha) * (1 - target))


def dice_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Compute ``1 - (2 sum p t + 1) / (sum p + sum t + 1)`` for each mask.

    Args:
        logits: (N, M, H, W) float.
        target: (N, 1, H, W) float in {0, 1}.
        valid: (N, 1, H, W) float in {0, 1}, 0 where the pixel does not count.

    Returns:
        (N, M) in [0, 1).
    """
    probability, target = logits.sigmoid() * valid, target * valid
    overlap, areas = (probability * target).sum(dim=(2, 3)), (probability.sum(dim=(2, 3)) + target.sum(dim=(2, 3)))
    return 1 - (2 * overlap + 1) / (areas + 1)


def mask_iou(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Compute the IoU (N, M) of ``logits > 0`` with the target, 0 if both are empty; see :func:`dice_loss`."""
    predicted, actual, valid = logits > 0, target > 0, valid > 0
    union = ((predicted | actual) & valid).sum(dim=(2, 3))
    return (predicted & actual & valid).sum(dim=(2, 3)) / union.clamp(min=1)


@MODELS.register_module(name="sam2_prompted")
class SAM2PromptedLoss(nn.Module):
    """SAM 2's loss of prompted masks: focal, dice, predicted IoU and object score.

    Terms are summed over steps and objects and divided by the number of objects. Only the mask with the least
    ``mask_weight * focal + dice_weight * dice`` among an object's M masks is trained. Objects with an empty ground
    truth train the score alone; steps without a score (SAM) train the masks of all objects. Objects whose ground truth
    is ignored everywhere contribute no loss.

    ``iou_loss='mse', supervise_all_iou=False`` is the loss of SAM, and of most fine-tuning of SAM.

    Args:
        mask_weight: Weight of the focal loss, a mean over pixels.
        dice_weight: Weight of the dice loss.
        iou_weight: Weight of the error of the predicted IoU.
        class_weight: Weight of the object score's loss.
        alpha: Weight of the foreground in the focal loss; None: foreground and background count alike.
        gamma: Focusing parameter of the focal loss; larger values down-weight easy pixels.
        class_alpha: ``alpha`` for the object score.
        class_gamma: ``gamma`` for the object score; 0 is cross-entropy.
        iou_loss: ``'l1'`` or ``'mse'``.
        supervise_all_iou: Train the predicted IoU of all M masks (their mean) instead of that of the chosen one.
        sync: Divide by the mean number of objects over all ranks, so that N processes equal one with the global batch.

    Raises:
        ConfigError: ``iou_loss`` is unknown.
    """

    def __init__(
        self,
        mask_weight: float = 20.0,
        dice_weight: float = 1.0,
        iou_weight: float = 1.0,
        class_weight: float = 1.0,
        alpha: float | None = 0.25,
        gamma: float = 2.0,
        class_alpha: float | None = None,
        class_gamma: float = 0.0,
        iou_loss: str = "l1",
        supervise_all_iou: bool = True,
        sync: bool = True,
    ) -> None:
        super().__init__()
        if iou_loss not in ("l1", "mse"):
            raise ConfigError(f"sam2_prompted: iou_loss={iou_loss!r} is unknown: use one of l1, mse")
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.iou_weight = iou_weight
        self.class_weight = class_weight
        self.alpha = alpha
        self.gamma = gamma
        self.class_alpha = class_alpha
        self.class_gamma = class_gamma
        self.iou_loss = iou_loss
        self.supervise_all_iou = supervise_all_iou
        self.sync = sync

    def forward(
        self,
        steps: Sequence[Step],
        target: Tensor,
        objects: Sequence[slice] | None = None,
        with_cp: bool = False,
    ) -> dict[str, Tensor]:
        """Compute the weighted terms by name; their sum is the loss.

        Args:
            steps: For each step logits (N, M, h, w), predicted IoU (N, M), and object score (N, 1) or None; M may
                differ. Logits are resized to the target's size; the aspect is the same.
            target: (N, 1, H, W) bool or int: 1 = object, 0 = not, 255 = no ground truth; no term counts such pixels.
            objects: Objects of each step, where each image has its own interaction. None: all of them.
            with_cp: Activation checkpointing: maps of the target's size are computed again in the backward pass.

        Returns:
            ``loss_mask``, ``loss_dice``, ``loss_iou``, and ``loss_class`` if there are scores.

        Raises:
            ValueError: No steps, or shapes that do not fit.
        """
        if not steps:
            raise ValueError("sam2_prompted: no steps: pass the masks of at least one prompt")
        count = self._objects(target)
        terms: dict[str, Tensor] = {}
        step_terms = partial(checkpoint, self._step, use_reentrant=False) if with_cp else self._step
        for (logits, iou, score), chosen in zip(steps, objects or [slice(None)] * len(steps), strict=True):
            for name, value in step_terms(logits, iou, score, target[chosen]).items():
                terms[name] = terms.get(name, 0) + value.sum() / count
        return terms

    def _step(self, logits: Tensor, iou: Tensor, score: Tensor | None, target: Tensor) -> dict[str, Tensor]:
        """Compute the weighted terms of one step, one value for each object (N,)."""
        _check(logits, iou, score, target)
        logits, iou = resize_masks(logits.float(), (target.shape[-2], target.shape[-1])), iou.float()
        actual, valid = (target == 1).float(), (target != IGNORE_INDEX).float()

        focal = focal_loss(logits, actual, self.alpha, self.gamma) * valid
        focal = self.mask_weight * focal.sum(dim=(2, 3)) / valid.sum(dim=(2, 3)).clamp(min=1)
        dice = self.dice_weight * dice_loss(logits, actual, valid)
        error = iou - mask_iou(logits, actual, valid)
        error = self.iou_weight * (error.abs() if self.iou_loss == "l1" else error**2)

        best = (focal + dice).argmin(dim=1, keepdim=True)
        terms = {
            "loss_mask": focal.gather(1, best)[:, 0],
            "loss_dice": dice.gather(1, best)[:, 0],
            "loss_iou": error.mean(dim=1) if self.supervise_all_iou else error.gather(1, best)[:, 0],
        }
        known = valid.flatten(1).any(dim=1).float()
        if score is None:
            return {name: value * known for name, value in terms.items()}
        present = actual.flatten(1).any(dim=1).float()
        error = focal_loss(score.float()[:, 0], present, self.class_alpha, self.class_gamma)
        return {
            **{name: value * present for name, value in terms.items()},
            "loss_class": self.class_weight * error * known,
        }

    def _objects(self, target: Tensor) -> Tensor:
        """Return the number of objects to divide sums by, at least 1."""
        count = torch.tensor(float(len(target)), device=target.device)
        if self.sync and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(count)
            count = count / torch.distributed.get_world_size()  # gradients are averaged over ranks
        return count.clamp(min=1)


def _check(logits: Tensor, iou: Tensor, score: Tensor | None, target: Tensor) -> None:
    objects = len(target)
    if (
        target.ndim != 4
        or target.shape[1] != 1
        or logits.ndim != 4
        or logits.shape[2] * target.shape[3] != logits.shape[3] * target.shape[2]
        or logits.shape[:2] != iou.shape
        or len(iou) != objects
        or (score is not None and score.shape != (objects, 1))
    ):
        found = None if score is None else tuple(score.shape)
        raise ValueError(
            f"sam2_prompted: logits {tuple(logits.shape)}, predicted IoU {tuple(iou.shape)}, object score {found} and "
            f"target {tuple(target.shape)} do not fit: they are (N, M, h, w), (N, M), (N, 1) or None, and (N, 1, H, W)"
        )
