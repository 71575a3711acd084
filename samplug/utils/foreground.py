"""What a model's output says of the foreground."""

import torch
from torch import Tensor


def foreground_logits(output: Tensor, decision: Tensor | None) -> Tensor:
    """Logits of a binary model's output, which mmseg's segmentors leave as probabilities under the name ``seg_logits``.

    Probabilities are recognised by the model's own decision: all are in 0..1, and some above 0 were decided to be
    background, which of logits they could not be at any threshold up to a half.

    Args:
        output: (1, H, W) float, ``seg_logits``; of several classes it is returned as it is.
        decision: (1, H, W), 0 = background, ``pred_sem_seg``; None: unknown, the output is taken as logits.

    Returns:
        (1, H, W) float.
    """
    if decision is None or len(output) != 1 or output.numel() == 0 or output.amin() < 0 or output.amax() > 1:
        return output
    if not ((decision == 0) & (output > 0)).any():
        return output
    return output.float().logit(eps=torch.finfo(torch.float32).eps)
