"""SAM's attention with decomposed relative positions, in exchangeable forms that give the same result.

For a query at (i, j) and a key at (k, l) the logit is ``q.k / sqrt(d) + q.Rh[i - k] + q.Rw[j - l]`` (the query of the
two position terms is not scaled; Segment Anything, image encoder). All forms share the signature of
:func:`attend_biased`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

AttentionFn = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def relative_table(rel_pos: Tensor, size: int) -> Tensor:
    """Look up a relative-position table for every pair of positions along one axis.

    Args:
        rel_pos: (2 * size - 1, d) float, row ``i - k + size - 1`` belongs to query position i and key position k.
        size: Number of positions along the axis.

    Returns:
        (size, size, d), indexed [query, key].
    """
    position = torch.arange(size, device=rel_pos.device)
    return rel_pos[position[:, None] - position[None, :] + size - 1]


def _position_terms(q: Tensor, rel_h: Tensor, rel_w: Tensor) -> tuple[Tensor, Tensor]:
    """Compute ``q.Rh`` (B, heads, H, W, H) and ``q.Rw`` (B, heads, H, W, W)."""
    batch, heads, _, dim = q.shape
    height, width = rel_h.shape[0], rel_w.shape[0]
    grid = q.reshape(batch, heads, height, width, dim)
    by_row = torch.einsum("bnhwd,hkd->bnhwk", grid, rel_h.to(q.dtype))
    by_column = torch.einsum("bnhwd,wkd->bnhwk", grid, rel_w.to(q.dtype))
    return by_row, by_column


def attend_biased(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Attend with PyTorch's fused kernel; the position terms are summed into one (H * W, H * W) bias per head.

    Args:
        q, k, v: (B, heads, H * W, d), row-major positions.
        rel_h: (H, H, d) from :func:`relative_table`.
        rel_w: (W, W, d) from :func:`relative_table`.

    Returns:
        (B, heads, H * W, d).
    """
    by_row, by_column = _position_terms(q, rel_h, rel_w)
    tokens = q.shape[2]
    bias = (by_row[..., :, None] + by_column[..., None, :]).reshape(*q.shape[:2], tokens, tokens)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def attend_folded(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Attend without the bias matrix, whose size is quadratic in the number of positions.

    The position terms become ``H + W`` further channels: ``[q / sqrt(d), q.Rh, q.Rw] . [k, onehot(row),
    onehot(column)]`` is exactly the biased logit, so a plain memory-efficient kernel can be used, at the price of wider
    heads. Arguments and result as in :func:`attend_biased`.
    """
    batch, heads, tokens, dim = q.shape
    height, width = rel_h.shape[0], rel_w.shape[0]
    by_row, by_column = _position_terms(q, rel_h, rel_w)
    extra = height + width
    pad = -(dim + extra) % 8  # kernels want multiples of eight channels
    query = torch.cat([q * dim**-0.5, by_row.flatten(2, 3), by_column.flatten(2, 3)], dim=-1)

    position = torch.arange(tokens, device=q.device)
    rows = F.one_hot(torch.div(position, width, rounding_mode="floor"), height)
    columns = F.one_hot(position % width, width)
    one_hot = torch.cat([rows, columns], dim=-1).to(q.dtype).expand(batch, heads, -1, -1)
    key = torch.cat([k, one_hot], dim=-1)
    out = F.scaled_dot_product_attention(
        F.pad(query, (0, pad)), F.pad(key, (0, pad)), F.pad(v, (0, extra + pad)), scale=1.0
    )
    return out[..., :dim]


# From this many positions on the bias matrix, not the arithmetic, dominates time and memory, see benchmarks/tssam.py.
_FOLD_FROM_TOKENS = 1024
# Largest head width of the fused kernels.
_MAX_HEAD_DIM = 256


def attend(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Attend in the form that suits the size: folded for large maps, biased for windows; as :func:`attend_biased`."""
    folded_dim = q.shape[-1] + rel_h.shape[0] + rel_w.shape[0]
    if q.shape[2] >= _FOLD_FROM_TOKENS and folded_dim <= _MAX_HEAD_DIM:
        return attend_folded(q, k, v, rel_h, rel_w)
    return attend_biased(q, k, v, rel_h, rel_w)


ATTENTION_FORMS: dict[str, AttentionFn] = {"auto": attend, "biased": attend_biased, "folded": attend_folded}
