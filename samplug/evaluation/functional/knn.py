"""Weighted k-nearest-neighbour classification of features by cosine similarity, as DINOv2 evaluates it.

Neighbours are 64-bit integers, whose order is that of similarity, then of the place in the bank. So equal similarities
have a defined order, and neighbours found in parts of the bank merge to those of the whole bank.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_BITS = 31
_SCALE = 2**_BITS
_BLOCK = 2**22
# Below every neighbour: fills rows of a part of the bank that has fewer than k entries.
_NONE = torch.iinfo(torch.int64).min


def knn_scores(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, classes: int, ks: Sequence[int], temperature: float = 0.07
) -> dict[int, Tensor]:
    """Compute the class scores of queries from their nearest neighbours in a bank.

    Features are normalised to length 1. The nearest max(ks) neighbours have the weights ``softmax(similarity /
    temperature)``. The score of a class for k is the sum of the weights of its entries among the first k; of equal
    similarities, the earlier entry of the bank comes first.

    Args:
        bank: (N, D) float.
        bank_labels: (N,) int64 in 0..classes-1.
        queries: (Q, D) float.
        classes: Number of classes.
        ks: Numbers of neighbours, each in 1..N.
        temperature: Temperature of the softmax; DINOv2's is 0.07.

    Returns:
        k -> (Q, classes) float64.

    Raises:
        ValueError: A k is not in 1..N.
    """
    if not ks or min(ks) < 1 or max(ks) > len(bank):
        raise ValueError(f"k must be in 1..{len(bank)}, the size of the bank; it is {sorted(ks)}")
    neighbours = nearest(bank, torch.arange(len(bank)), queries, max(ks))
    return vote(neighbours, bank_labels, classes, ks, temperature)


def nearest(bank: Tensor, places: Tensor, queries: Tensor, k: int) -> Tensor:
    """Find the nearest neighbours in a bank, or in a part of it.

    Similarities are computed in float64, a block of the bank at a time, on the device of the queries.

    Args:
        bank: (N, D) float.
        places: (N,) int64, places of the entries in the whole bank, below 2**31.
        queries: (Q, D) float.
        k: Number of neighbours.

    Returns:
        (Q, k) int64, neighbours in falling order, for :func:`merge` and :func:`vote`.
    """
    queries = F.normalize(queries.double(), dim=1)
    best = queries.new_full((len(queries), k), _NONE, dtype=torch.int64)
    rows = max(1, _BLOCK // max(1, len(queries)))
    for features, own in zip(bank.split(rows), places.split(rows), strict=True):
        similarity = queries @ F.normalize(features.to(queries), dim=1).T
        found = (similarity * _SCALE).round().long() * _SCALE + (_SCALE - 1 - own.to(queries.device))
        best = merge([best, found], k)
    return best


def merge(parts: Sequence[Tensor], k: int) -> Tensor:
    """Merge the neighbours (Q, n) of the same queries in several parts of a bank to the nearest k, (Q, k)."""
    return torch.cat(list(parts), dim=1).topk(k, dim=1).values


def vote(
    neighbours: Tensor, bank_labels: Tensor, classes: int, ks: Sequence[int], temperature: float
) -> dict[int, Tensor]:
    """Sum the weights of neighbours for each class.

    Args:
        neighbours: (Q, max(ks)) int64 of :func:`nearest`.
        bank_labels: (N,) int64, labels of the whole bank.
        classes: Number of classes.
        ks: Numbers of neighbours.
        temperature: Temperature of the softmax.

    Returns:
        k -> (Q, classes) float64.
    """
    similarity = neighbours.div(_SCALE, rounding_mode="floor")
    labels = bank_labels.to(neighbours.device)[_SCALE - 1 - (neighbours - similarity * _SCALE)]
    weights = (similarity.double() / _SCALE / temperature).softmax(dim=1)
    empty = weights.new_zeros(len(weights), classes)
    return {k: empty.scatter_add(1, labels[:, :k], weights[:, :k]) for k in ks}
