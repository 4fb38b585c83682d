"""What is done with a chunk of rows: the parts that kernels share, and the loop over chunks.

All of it is plain functions of tensors, so that the loop can be compiled (gmmcli.fitting.compiled).
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from gmmcli.families.base import SMALLEST_LOGIT


class Chunk(NamedTuple):
    """B rows, and what their sums are made of and go to.

    z: (1 + D, B), a row of ones first; weights: (B,) or None; background: logits (M,) of a background component or
    None; total: the sums so far, float64; buffer: numbers to write in, as many for each row as the kernel says;
    tensors: the kernel's; mixtures: M.
    """

    z: Tensor
    weights: Tensor | None
    background: Tensor | None
    total: Tensor
    buffer: Tensor
    tensors: list[Tensor]
    mixtures: int


ChunkSums = Callable[[Chunk], None]  # adds the sums of a chunk
Loop = Callable[[Chunk, int], None]  # adds those of any number of rows, by chunks of so many


@cache
def loop_of(work: ChunkSums) -> Loop:
    """The loop of `work` over the chunks of many rows."""

    def loop(rows: Chunk, most: int) -> None:
        weights = rows.weights
        for first in range(0, rows.z.shape[1], most):
            last = first + most
            part = None if weights is None else weights[first:last]
            work(
                Chunk(
                    rows.z[:, first:last], part, rows.background, rows.total, rows.buffer, rows.tensors, rows.mixtures
                )
            )

    return loop


def take(buffer: Tensor, height: int, rows: int) -> tuple[Tensor, Tensor]:
    """A table (height, rows) at the beginning of the buffer, and the buffer after it."""
    size = height * rows
    return buffer[:size].view(height, rows), buffer[size:]


def soften(
    logits: Tensor,  # (M, K, B)
    weights: Tensor | None,  # (B,)
    background: Tensor | None,  # (M,)
    spare: Tensor,  # at least 3 M B numbers
    scalars: Tensor,
    smallest: float = SMALLEST_LOGIT,
) -> Tensor:
    """The softmax over K, in place: leaves exp(logit − highest), returns what turns that into w r, (M, 1, B).

    background: logits of a component that is the same for every row. scalars: float64, to which it adds M
    log-likelihoods Σ w log Σ exp(logit) and, where there are as many again, M entropies −Σ w r log r.
    """
    mixtures, rows = logits.shape[0], logits.shape[2]
    tables = take(spare, 3 * mixtures, rows)[0].view(3, mixtures, 1, rows)
    highest, total, scale = tables[0], tables[1], tables[2]
    torch.amax(logits, 1, keepdim=True, out=highest)
    rest = highest
    if background is not None:
        torch.maximum(highest, background[:, None, None], out=highest)
        rest = (background[:, None, None] - highest).clamp_(min=smallest)
    logits.sub_(highest).clamp_(min=smallest)
    with_entropy = len(scalars) > mixtures
    shifted = logits.clone() if with_entropy else logits
    torch.sum(logits.exp_(), 1, keepdim=True, out=total)
    if background is not None:
        total.add_(rest.exp())
    torch.reciprocal(total, out=scale)
    if with_entropy:  # −Σ r log r = log Σ exp(shifted) − Σ r shifted
        mean = (logits * shifted).sum(1, keepdim=True)
        if background is not None:
            mean.add_(rest.exp() * rest)
        _add(scalars[mixtures:], total.log() - mean * scale, weights)
    _add(scalars[:mixtures], total.log_().add_(highest), weights)
    return scale if weights is None else scale.mul_(weights)


def add_product(
    total: Tensor,  # (P, Q) float64
    left: Tensor,  # (P, B)
    right: Tensor,  # (B, Q)
) -> None:
    """total += left @ right, by one call where the precisions are the same."""
    if left.dtype == total.dtype:
        torch.addmm(total, left, right, out=total)
    else:
        total.add_(torch.mm(left, right).to(total.device))


def _add(
    sums: Tensor,  # (M,)
    values: Tensor,  # (M, 1, B)
    weights: Tensor | None,
) -> None:
    if weights is not None:
        values = values * weights
    sums.add_(values.sum([1, 2]).to(sums))  # within a chunk torch sums pairwise
