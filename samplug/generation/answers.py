"""Answers of a promptable model to many single clicks, before any filter of its own."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from samplug.models.image_embedding import ImageEmbedding


class PointAnswers(NamedTuple):
    """Masks for P points.

    Attributes:
        points: (P, 2) float32, (x, y) in pixels of the image.
        logits: (P, M, 4g, 4g) over the network's input.
        iou: Predicted IoU, (P, M).
    """

    points: Tensor
    logits: Tensor
    iou: Tensor


def point_answers(
    model: Any,
    embedding: ImageEmbedding,
    points: Tensor,
    batch_size: int = 64,
    multimask: bool = True,
    dynamic: bool = False,
    min_iou: float = -torch.inf,
) -> Iterator[PointAnswers]:
    """Predict masks for each of many points on one image.

    It is the part that all ways of finding objects without a user have in common; whatever is made of the answers is
    the caller's. Call it in inference mode.

    Args:
        model: A :class:`samplug.models.PromptableSAM` in evaluation mode.
        embedding: Result of its ``embed``.
        points: (P, 2), (x, y) in pixels of the image.
        batch_size: Number of points in a call of the decoder.
        multimask: Ask for three masks of each point in place of one.
        dynamic: Replace a single mask that is not stable, see :meth:`PromptedMaskDecoder.decode`.
        min_iou: Points none of whose masks has a higher predicted IoU are left out, which saves most of their time.

    Yields:
        Answers to the points of a batch that are not left out; M is 3 with ``multimask``, else 1.
    """
    decoder, grid = model.decode_head, model.img_size // model.backbone.patch_size
    points = points.to(embedding.features[-1].device, torch.float32)
    for batch in points.split(batch_size):
        clicks = embedding.geometry.to_input(batch)[None, :, None]
        labels = torch.ones(clicks.shape[:-1], dtype=torch.long, device=clicks.device)
        sparse, _ = decoder.embed_prompts(model.img_size, grid, clicks, labels)
        masks, kept = decoder.decode_above(embedding.features, sparse, min_iou, multimask, dynamic, embedding.memory)
        yield PointAnswers(batch[kept], masks.logits[0].float(), masks.iou[0].float())
