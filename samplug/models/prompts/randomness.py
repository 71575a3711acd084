"""Random numbers of prompts: drawn from an explicit generator, or given."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Random: TypeAlias = torch.Generator | Tensor


def prompt_generator(*entropy: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Make a generator that is seeded by numbers, e.g. ``prompt_generator(seed, epoch, sample)``.

    Args:
        entropy: Numbers of at least 0; all of them and their order count.
        device: Device of the generator. Generators of different devices draw different numbers; one of the CPU gives
            the same prompts everywhere.
    """
    (word,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64).tolist()
    generator = torch.Generator(device)
    generator.manual_seed(word)
    return generator


def uniform(random: Random, shape: Sequence[int], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw numbers in [0, 1) on the generator's device and move them to ``device``, or return given numbers.

    Raises:
        ValueError: Given numbers have another shape.
    """
    if isinstance(random, torch.Generator):
        return torch.rand(*shape, generator=random, device=random.device, dtype=dtype).to(device)
    if random.shape != tuple(shape):
        raise ValueError(f"prompts: random numbers have the shape {tuple(random.shape)}, expected {tuple(shape)}")
    return random.to(device, dtype)


def happens(probability: float, generator: torch.Generator) -> bool:
    """Draw an event of this probability; probabilities of 0 and 1 draw no number."""
    if probability in (0, 1):
        return bool(probability)
    return torch.rand(1, generator=generator, device=generator.device).item() < probability
