"""Few-shot subsets of a labelled set."""

import torch
from torch import Tensor

from samplug.utils.errors import DataError


def draw_shots(labels: Tensor, shots: int, seed: int) -> Tensor:
    """Draw samples of each class with torch's CPU generator, as DINOv2's few-shot evaluation does.

    One generator with this seed permutes the samples of each class, class after class.

    Args:
        labels: (N,) int64.
        shots: Samples of each class, at least 1.
        seed: Seed; DINOv2 takes the number of the try, from 0.

    Returns:
        (shots * classes,) int64, places in ``labels``; classes in the order of their index.

    Raises:
        DataError: A class has fewer samples.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for label in labels.unique():
        places = (labels == label).nonzero()[:, 0]
        if len(places) < shots:
            raise DataError(
                f"data: class {int(label)} has {len(places)} samples, fewer than shots={shots}: lower shots"
            )
        drawn.append(places[torch.randperm(len(places), generator=generator)[:shots]])
    return torch.cat(drawn)
