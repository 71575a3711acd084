"""Simulated interactive sessions: what a user would say of an object, and what the model makes of it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from samplug.models.decoders import Masks
from samplug.models.prompts import PromptState, prompt_generator
from samplug.models.prompts.objects import IGNORED

_MOST_OBJECTS = 32
_MOST_PIXELS = 2**26


def run_interaction(
    model: Any, prompts: Any, features: tuple[Tensor, ...], objects: Tensor, generator: torch.Generator
) -> Iterator[tuple[PromptState, Masks]]:
    """A first prompt for the B objects of one image and its answer, then each correction of what was answered.

    Args:
        model: A :class:`samplug.models.PromptableSAM`.
        prompts: Its simulator, e.g. a :class:`PromptSimulator`.
        features: Of the one image.
        objects: (B, 1, S, S) uint8: 1 = the object, 0 = not, 255 = not known.
        generator: Source of all that is random in the prompts.
    """
    state = first_prompt(prompts, objects, generator)
    masks = _answer(model, prompts, features, state)
    yield state, masks
    for _ in range(prompts.num_correction_points):
        state = prompts.correct(state, masks.logits, masks.iou, generator)
        masks = _answer(model, prompts, features, state)
        yield state, masks


def first_prompt(prompts: Any, objects: Tensor, generator: torch.Generator) -> PromptState:
    """What is said first, before the model has answered anything; arguments as those of :func:`run_interaction`."""
    return prompts.start(objects == 1, generator, objects != IGNORED)


def _answer(model: Any, prompts: Any, features: tuple[Tensor, ...], state: PromptState) -> Masks:
    """Masks of B objects, after merging those of Q prompts for each."""
    shape = state.points.shape[:2]
    # SAM 2 hides what it says is absent in training; in a test a user sees the mask, as of the predictor.
    decode = partial(model.decode, multimask=state.multimask, hide_absent=model.training)
    if model.with_cp and torch.is_grad_enabled():
        decode = partial(checkpoint, decode, use_reentrant=False)
    masks = Masks(*decode(features, model.prompts_of(state)))
    if shape[1] == 1:
        return masks
    logits, iou = prompts.merge(masks.logits.unflatten(0, shape), masks.iou.unflatten(0, shape))
    score = masks.object_score
    return Masks(logits, iou, None if score is None else score.unflatten(0, shape).mean(dim=1))


def prompt_generator_of(sample: Any) -> torch.Generator:
    """Where a sample's prompts come from: its ``draw`` (seed, epoch, sample), or torch's generator where it has none."""
    draw = sample.get("sample_seed")
    return prompt_generator(*(draw if draw is not None else torch.randint(2**31, (2,)).tolist()))


def passes(objects: int, pixels: int) -> Iterator[slice]:
    """Objects of one image in parts that fit into memory, with masks of so many pixels."""
    size = min(_MOST_OBJECTS, max(1, _MOST_PIXELS // pixels))
    return (slice(start, start + size) for start in range(0, objects, size))
