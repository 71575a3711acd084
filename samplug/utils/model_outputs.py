"""Find out whether a model returns logits or probabilities as ``seg_logits``."""

import sys
from typing import Any, Literal, get_args

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor

from samplug.utils.errors import ConfigError, check_choice

Outputs = Literal["logits", "probabilities"]


def outputs_of(model: Any) -> Outputs:
    """Return the kind of a model's outputs: its attribute ``outputs``, or that of the model in a wrapper.

    Without the attribute, segmentors of mmseg with one output channel return probabilities, since mmseg's
    ``postprocess_result`` applies the sigmoid; all other models return logits.

    Raises:
        ConfigError: The attribute is neither ``'logits'`` nor ``'probabilities'``.
    """
    declared = getattr(model, "outputs", None)
    if declared is not None:
        check_outputs(type(model).__name__, declared)
        return declared
    if is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        return outputs_of(model.module)
    one_channel = getattr(model, "out_channels", 1) == 1
    return "probabilities" if one_channel and _is_segmentor_of_mmseg(model) else "logits"


def _is_segmentor_of_mmseg(model: Any) -> bool:
    segmentors = sys.modules.get("mmseg.models.segmentors")  # without this import, no instance can exist
    return segmentors is not None and isinstance(model, segmentors.BaseSegmentor)


def check_outputs(owner: str, outputs: object) -> None:
    """Raise a ConfigError that names the owner, if ``outputs`` is neither ``'logits'`` nor ``'probabilities'``."""
    check_choice(owner, "outputs", outputs, get_args(Outputs))


def as_logits(output: Tensor, outputs: Outputs) -> Tensor:
    """Convert a model's output to logits.

    Args:
        output: (C, H, W) float: C = 1 foreground, or one map for each class.
        outputs: Kind of the output; ``'probabilities'`` of several classes add up to 1.

    Returns:
        (C, H, W) float; logits are returned as they are.
    """
    if outputs == "logits":
        return output
    eps = torch.finfo(torch.float32).eps
    return output.float().logit(eps=eps) if len(output) == 1 else output.float().clamp_min(eps).log()


def check_logits(owner: str, output: Tensor, decision: Tensor | None) -> None:
    """Raise an error if an output whose kind is not declared can hardly be logits.

    If all values are in 0..1 and one above 0 was decided to be background, they are logits only if the model's
    threshold is above a half.

    Args:
        owner: Name for the message.
        output: (1, H, W) float.
        decision: (1, H, W), 0 = background; None: unknown.

    Raises:
        ConfigError: The output looks like probabilities.
    """
    if decision is None or len(output) != 1 or output.numel() == 0 or output.amin() < 0 or output.amax() > 1:
        return
    if ((decision == 0) & (output > 0)).any():
        raise ConfigError(
            f"{owner}: the model's seg_logits look like probabilities, but their kind is not declared: set "
            "outputs='probabilities' (or outputs='logits') in the metric, or give the model an attribute outputs"
        )
