"""Simulated interactions: prompts as a user would give them, and the masks that the model predicts for them."""

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
    """Yield a first prompt for the B objects of one image with its masks, then each correction with its masks.

    Args:
        model: A :class:`samplug.models.PromptableSAM`.
        prompts: Its simulator, e.g. a :class:`PromptSimulator`.
        features: Maps of the image.
        objects: (B, 1, S, S) uint8: 1 = on the object, 0 = not on it, 255 = not known.
        generator: Source of the random numbers.
    """
    state = first_prompt(prompts, objects, generator)
    masks = _predict(model, prompts, features, state)
    yield state, masks
    for _ in range(prompts.num_correction_points):
        state = prompts.correct(state, masks.logits, masks.iou, generator)
        masks = _predict(model, prompts, features, state)
        yield state, masks


def first_prompt(prompts: Any, objects: Tensor, generator: torch.Generator) -> PromptState:
    """Make the prompt that needs no prediction; arguments as for :func:`run_interaction`."""
    return prompts.start(objects == 1, generator, objects != IGNORED)


def _predict(model: Any, prompts: Any, features: tuple[Tensor, ...], state: PromptState) -> Masks:
    """Predict masks of B objects; the masks of Q prompts for one object are merged."""
    shape = state.points.shape[:2]
    # SAM 2 hides objects that it predicts to be absent in training; tests show the mask, as its predictor does.
    hide_absent = model.training and model.decode_head.has_object_score
    decode = partial(model.decode, multimask=state.multimask, hide_absent=hide_absent)
    if model.with_cp and torch.is_grad_enabled():
        decode = partial(checkpoint, decode, use_reentrant=False)
    masks = Masks(*decode(features, model.prompts_of(state)))
    if shape[1] == 1:
        return masks
    logits, iou = prompts.merge(masks.logits.unflatten(0, shape), masks.iou.unflatten(0, shape))
    score = masks.object_score
    return Masks(logits, iou, None if score is None else score.unflatten(0, shape).mean(dim=1))


def prompt_generator_of(sample: Any) -> torch.Generator:
    """Return a generator seeded by a sample's ``sample_seed`` (seed, epoch, sample), or else by torch's generator."""
    seed = sample.get("sample_seed")
    return prompt_generator(*(seed if seed is not None else torch.randint(2**31, (2,)).tolist()))


def object_chunks(objects: int, pixels: int) -> Iterator[slice]:
    """Split the objects of one image into parts that fit into memory, given the number of pixels of a mask."""
    size = min(_MOST_OBJECTS, max(1, _MOST_PIXELS // pixels))
    return (slice(start, start + size) for start in range(0, objects, size))
