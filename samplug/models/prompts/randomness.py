"""Where the random numbers of prompts come from: always an explicit generator, or the numbers themselves."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Random: TypeAlias = torch.Generator | Tensor


def prompt_generator(*entropy: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator that is a function of these numbers, e.g. ``prompt_generator(seed, epoch, sample)``.

    Args:
        entropy: Numbers of at least 0; every one of them counts, and so does their order.
        device: Where it draws. Generators of different devices draw different numbers; one of the CPU gives the same prompts everywhere.
    """
    (word,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64).tolist()
    generator = torch.Generator(device)
    generator.manual_seed(word)
    return generator


def uniform(random: Random, shape: Sequence[int], device: torch.device) -> Tensor:
    """Numbers of [0, 1), float32, of this shape, on this device: drawn on the generator's device, or those that were given.

    Raises:
        ValueError: Given numbers have another shape.
    """
    if isinstance(random, torch.Generator):
        return torch.rand(*shape, generator=random, device=random.device).to(device)
    if random.shape != tuple(shape):
        raise ValueError(f"prompts: random numbers have the shape {tuple(random.shape)}, needed are {tuple(shape)}")
    return random.to(device)


def happens(probability: float, generator: torch.Generator) -> bool:
    """Whether an event of this probability happens; what never or always happens draws no number."""
    if probability in (0, 1):
        return bool(probability)
    return torch.rand(1, generator=generator, device=generator.device).item() < probability
