"""Simulators that make prompts from the ground truth, as a user would give them."""

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samplug.models.prompts.boxes import perturb_boxes, tight_boxes
from samplug.models.prompts.clicks import center_click, erode, spread_points, uniform_click
from samplug.models.prompts.masks import best_mask, mask_prompt, merge_prompts
from samplug.models.prompts.randomness import happens
from samplug.moved import renamed_arguments
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, check_choice


@dataclass(frozen=True)
class PromptState:
    """Prompts of B objects so far, and their ground truth.

    Attributes:
        ground_truth: Masks of the objects (B, 1, H, W) bool.
        points: (B, Q, K, 2) float32, (x, y) in pixels of ``ground_truth``: Q prompts of K points for each object.
        labels: (B, Q, K) int32: 1 = on the object, 0 = not on it, -1 = no point.
        multimask: Ask the decoder for its three masks for ambiguous prompts.
        boxes: (B, 1, 4) float32, (x0, y0, x1, y1), or None.
        mask: Mask prompt, logits (B, 1, h, w), or None.
        valid: (B, 1, H, W) bool, True where the ground truth is known; None: everywhere.
    """

    ground_truth: Tensor
    points: Tensor
    labels: Tensor
    multimask: bool
    boxes: Tensor | None = None
    mask: Tensor | None = None
    valid: Tensor | None = None


@MODELS.register_module()
class PromptSimulator:
    """Simulate a first prompt and corrections of the predicted masks: SAM 2's training on still images.

    The first prompt is a box, one click, or a mask. Then clicks are added where the best mask so far (logits above 0)
    is wrong, and the logits of that mask are the mask prompt; gradients go through it. SAM 2's evaluation is
    ``click='center'``, ``correction_from_truth_prob=0``.

    All objects of one call get the same kind of prompt, as in SAM 2. Random numbers come from the generator of the call
    alone: with one call for each image and :func:`prompt_generator` of (seed, epoch, sample), prompts do not depend on
    batches.

    Args:
        box_prob: Probability that the first prompt is a box.
        mask_prob: Probability that the first prompt is the ground truth as a mask prompt, see :func:`mask_prompt`; the
            rest are clicks.
        num_correction_points: Number of clicks after the first prompt, one for each call of :meth:`correct`.
        correction_from_truth_prob: Probability that a correction ignores the prediction, as if it were empty.
        click: ``'uniform'``, or ``'center'`` of the object or the error.
        box_noise: Largest shift of a box's sides as a share of its width and height; None: ``box_noise_limit`` alone.
        box_noise_limit: Largest shift of a box's sides in pixels.

    Raises:
        ConfigError: A setting is out of range.
    """

    def __init__(
        self,
        box_prob: float = 0.5,
        num_correction_points: int = 7,
        correction_from_truth_prob: float = 0.1,
        click: str = "uniform",
        box_noise: float | None = 0.1,
        box_noise_limit: float = 20.0,
        mask_prob: float = 0.0,
    ) -> None:
        probabilities = dict(
            box_prob=box_prob, mask_prob=mask_prob, correction_from_truth_prob=correction_from_truth_prob
        )
        for name, value in probabilities.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"PromptSimulator: {name}={value} is no probability: use a number from 0 to 1")
        if box_prob + mask_prob > 1:
            raise ConfigError(
                f"PromptSimulator: box_prob={box_prob} and mask_prob={mask_prob} are more than 1 together"
            )
        check_choice("PromptSimulator", "click", click, ("uniform", "center"))
        _check_least("PromptSimulator", 0, num_correction_points=num_correction_points, box_noise=box_noise or 0,
                     box_noise_limit=box_noise_limit)  # fmt: skip
        self.box_prob = box_prob
        self.mask_prob = mask_prob
        self.num_correction_points = num_correction_points
        self.correction_from_truth_prob = correction_from_truth_prob
        self.click = click
        self.box_noise = box_noise
        self.box_noise_limit = box_noise_limit

    def start(self, masks: Tensor, generator: torch.Generator, valid: Tensor | None = None) -> PromptState:
        """Make the first prompt.

        Args:
            masks: Ground truth (B, 1, H, W) bool, at the size of the network's input. Empty masks get a click on the
                background, or an inverted box.
            generator: Source of the random numbers.
            valid: (B, 1, H, W) bool, True where the ground truth is known, also for the corrections; None: everywhere.

        Returns:
            A click (Q = K = 1) that asks for three masks, or a box or a mask (K = 0) that asks for one.
        """
        nothing = masks.new_zeros(len(masks), 1, 0, 2, dtype=torch.float32)
        no_labels = masks.new_zeros(len(masks), 1, 0, dtype=torch.int32)
        if happens(self.box_prob, generator):
            boxes = perturb_boxes(
                tight_boxes(masks), (masks.shape[-2], masks.shape[-1]), generator, self.box_noise, self.box_noise_limit
            )
            return PromptState(masks, nothing, no_labels, multimask=False, boxes=boxes[:, None], valid=valid)
        if happens(self.mask_prob / (1 - self.box_prob) if self.mask_prob else 0, generator):
            prompt = mask_prompt(masks, (masks.shape[-2] // 4, masks.shape[-1] // 4))
            return PromptState(masks, nothing, no_labels, multimask=False, mask=prompt, valid=valid)
        points, labels = self._click(masks, None, valid, generator)
        return PromptState(masks, points[:, None], labels[:, None], multimask=True, valid=valid)

    def correct(self, state: PromptState, logits: Tensor, iou: Tensor, generator: torch.Generator) -> PromptState:
        """Make the next prompt: one more click for each object, and the best mask so far.

        Args:
            state: The prompts so far.
            logits: Masks predicted for them (B, M, h, w), at the decoder's resolution.
            iou: Predicted IoU of the masks (B, M).
            generator: Source of the random numbers.

        Returns:
            K + 1 points and a mask prompt that ask for one mask.
        """
        best = best_mask(logits, iou)
        prediction = None
        if not happens(self.correction_from_truth_prob, generator):
            size = state.ground_truth.shape[-2:]
            prediction = F.interpolate(best.detach().float(), size, mode="bilinear", align_corners=False) > 0
        points, labels = self._click(state.ground_truth, prediction, state.valid, generator)
        return replace(
            state,
            points=torch.cat([state.points, points[:, None]], dim=2),
            labels=torch.cat([state.labels, labels[:, None]], dim=2),
            multimask=False,
            mask=best,
        )

    def _click(
        self, ground_truth: Tensor, prediction: Tensor | None, valid: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        if self.click == "center":
            return center_click(ground_truth, prediction, valid=valid)
        return uniform_click(ground_truth, prediction, generator, valid)


@MODELS.register_module()
class PointPrompts:
    """Simulate several points on each object at once.

    Args:
        num_positive: Number of points on the object.
        num_negative: Number of points off the object.
        erode: Pixels by which object and background are eroded first, so that points stay away from the border; see
            :func:`erode`.
        dynamic_distance: Keep points apart by a distance that adapts to the mask's size; see :func:`spread_points`.
        point_mode: ``'separate'``: each point on the object is a prompt of its own (with all points off it), and the
            masks are merged; ``'joint'``: all points are one prompt.
        merge_mode: Way to merge the masks of separate prompts, ``'mean'`` or ``'best'``, see :func:`merge_prompts`.
        multimask: Ask the decoder for its three masks for ambiguous prompts.

    Raises:
        ConfigError: A setting is out of range.
    """

    num_correction_points = 0  # a single round

    @renamed_arguments(multi_mask="merge_mode")
    def __init__(
        self,
        num_positive: int = 3,
        num_negative: int = 0,
        erode: int = 3,
        dynamic_distance: bool = True,
        point_mode: str = "separate",
        merge_mode: str = "mean",
        multimask: bool = False,
    ) -> None:
        _check_least("PointPrompts", 1, num_positive=num_positive)
        _check_least("PointPrompts", 0, num_negative=num_negative, erode=erode)
        check_choice("PointPrompts", "point_mode", point_mode, ("separate", "joint"))
        check_choice("PointPrompts", "merge_mode", merge_mode, ("mean", "best"))
        self.num_positive = num_positive
        self.num_negative = num_negative
        self.erode = erode
        self.dynamic_distance = dynamic_distance
        self.point_mode = point_mode
        self.merge_mode = merge_mode
        self.multimask = multimask

    def start(self, masks: Tensor, generator: torch.Generator, valid: Tensor | None = None) -> PromptState:
        """Make the points.

        Args:
            masks: Ground truth (B, 1, H, W) bool, at the size of the network's input. Without an object, or without
                background, the points have label -1.
            generator: Source of the random numbers.
            valid: (B, 1, H, W) bool, True where the ground truth is known; None: everywhere.

        Returns:
            Separate points: Q = ``num_positive`` prompts of K = 1 + ``num_negative`` points. Joint points: Q = 1 prompt
            of K = ``num_positive + num_negative`` points.
        """
        points, labels = self._points(masks, self.num_positive, 1, generator)
        background = ~masks if valid is None else ~masks & valid
        off_points, off_labels = self._points(background, self.num_negative, 0, generator)
        if self.point_mode == "separate":
            points, labels = points[:, :, None], labels[:, :, None]
        else:
            points, labels = points[:, None], labels[:, None]
        prompts = points.shape[1]
        return PromptState(
            masks,
            torch.cat([points, off_points[:, None].expand(-1, prompts, -1, -1)], dim=2),
            torch.cat([labels, off_labels[:, None].expand(-1, prompts, -1)], dim=2),
            multimask=self.multimask,
            valid=valid,
        )

    def merge(self, logits: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
        """Merge the masks of Q prompts: (B, Q, M, h, w) and (B, Q, M) to (B, M, h, w) and (B, M)."""
        return merge_prompts(logits, iou, self.merge_mode)

    def _points(self, masks: Tensor, count: int, label: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        points, exist = spread_points(erode(masks, self.erode), count, generator, self.dynamic_distance)
        return points, torch.where(exist, label, -1).int()


def _check_least(owner: str, least: int, **values: Any) -> None:
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"{owner}: {name}={value} is too small: use {least} or more")
