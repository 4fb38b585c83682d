"""What is done with a chunk of rows: the parts that kernels share, and the loop over chunks.

All of it is plain functions of tensors, so that the loop can be compiled (gmmcli.passes.compiled). Where they read
and write is laid out once for all chunks of so many rows: at few columns, making the views anew for each chunk takes
as long as the arithmetic.

The last bits of a matrix product depend on its shape, on the place of a column in it and on the alignment of its
operands. So every product of a pass is that of one mixture and one chunk, and reads and writes buffers of the chunk's
own: what a row gets depends neither on where it was before nor on the mixtures that share the reading.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from gmmcli.families.affine import Affine
from gmmcli.families.base import SMALLEST_LOGIT
from gmmcli.passes.laying import Laying, lay_out, put


class Softmax(NamedTuple):
    """Where the softmax of B rows over the K components of a mixture is made, and the sums that it adds to.

    logits: (K, B); highest, total, scale: (1, B) to write in; log_likelihood: () float64; entropy: the same, or None
    where it is not asked for; background: () logit of a component that is the same for every row, or None, and
    backgrounds: () its responsibilities.
    """

    logits: Tensor
    highest: Tensor
    total: Tensor
    scale: Tensor
    log_likelihood: Tensor
    entropy: Tensor | None
    background: Tensor | None
    backgrounds: Tensor | None


class Product(NamedTuple):
    """Where a product over the rows of a chunk is added: total, float64; narrow: its shape, to write in, in the
    precision of the chunk; wide: the same in float64."""

    total: Tensor
    narrow: Tensor
    wide: Tensor


class Unit(NamedTuple):
    """Rows to add to the sums. numbers: z (1 + D, B) or, with `affine`, the cells (D, B), which are laid out in its
    coordinates on the way; observed: which of these are, (D, B), or None. weights: (B,) or None."""

    numbers: Tensor
    weights: Tensor | None = None
    observed: Tensor | None = None
    affine: Affine | None = None

    @property
    def rows(self) -> int:
        """Their number."""
        return self.numbers.shape[1]

    def part(self, rows: slice) -> Self:
        """Some of the rows."""
        weights, observed = self.weights, self.observed
        return self._replace(
            numbers=self.numbers[:, rows],
            weights=None if weights is None else weights[rows],
            observed=None if observed is None else observed[:, rows],
        )


# Adds the sums of the rows in a chunk's own buffer, with weights (B,) or None, given what the kernel has laid out for
# chunks of so many rows: a NamedTuple of the kernel's own with the buffer `z`, which the annotation of the argument
# `chunk` names.
ChunkSums = Callable[[Tensor | None, Any], None]
# Adds the sums of a unit's rows, chunk by chunk. Its arguments: the unit's numbers, weights and observed; what the
# kernel has laid out for a whole chunk and for the rest at the end; the rows of a whole chunk; where cells are laid
# out, None for z.
Loop = Callable[[Tensor, Tensor | None, Tensor | None, Any, Any, int, Laying | None], None]


@cache
def loop_of(work: ChunkSums) -> Loop:
    """The loop of `work` over the chunks of many rows."""
    kind = work.__annotations__["chunk"]

    def loop(
        numbers: Tensor,
        weights: Tensor | None,
        observed: Tensor | None,
        whole: kind,  # pyright: ignore
        rest: kind,  # pyright: ignore
        rows: int,
        laying: Laying | None,
    ) -> None:
        assert isinstance(whole, kind)  # TorchScript finds the annotation only by a name that the body uses
        count = numbers.shape[1]
        z, start, end = numbers, 0, count if laying is None else 0  # rows that are laid out: all, or of a slab
        for first in range(0, count, rows):
            last = min(first + rows, count)
            chunk = whole if last - first == rows else rest
            at = first
            while at < last:  # a chunk may lie in several slabs
                if at == end and laying is not None:
                    z = lay_out(numbers[:, at : at + laying.centred.shape[1]], laying)
                    start, end = at, at + z.shape[1]
                to = min(last, end)
                own, part = chunk.z[:, at - first : to - first], z[:, at - start : to - start]
                if laying is None:
                    own[1:].copy_(part[1:])  # the row of ones is there
                else:
                    put(part, None if observed is None else observed[:, at:to], own)
                at = to
            work(None if weights is None else weights[first:last], chunk)

    return loop


def soften(weights: Tensor | None, at: Softmax, smallest: float = SMALLEST_LOGIT) -> Tensor:
    """The softmax over K, in place: leaves exp(logit − highest), returns what turns that into w r, (1, B).

    Adds to the sums Σ w log Σ exp(logit) and, where they are asked for, −Σ w r log r and Σ w r of the background.
    """
    logits, highest, total, scale = at.logits, at.highest, at.total, at.scale
    entropy, background, backgrounds = at.entropy, at.background, at.backgrounds
    torch.amax(logits, 0, keepdim=True, out=highest)
    rest = highest
    if background is not None:
        torch.maximum(highest, background, out=highest)
        rest = (background - highest).clamp_(min=smallest)
    logits.sub_(highest).clamp_(min=smallest)
    shifted = logits if entropy is None else logits.clone()
    torch.sum(logits.exp_(), 0, keepdim=True, out=total)
    if background is not None:
        total.add_(rest.exp())
    torch.reciprocal(total, out=scale)
    if backgrounds is not None:
        _add(backgrounds, rest.exp() * scale, weights)
    if entropy is not None:  # −Σ r log r = log Σ exp(shifted) − Σ r shifted
        mean = (logits * shifted).sum(0, keepdim=True)
        if background is not None:
            mean.add_(rest.exp() * rest)
        _add(entropy, total.log() - mean * scale, weights)
    _add(at.log_likelihood, total.log_().add_(highest), weights)
    return scale if weights is None else scale.mul_(weights)


def add_product(left: Tensor, right: Tensor, to: Product) -> None:
    """total += left @ right, of matrices or of a batch of them, by one call where the precisions are the same."""
    if left.dtype != to.total.dtype:
        torch.matmul(left, right, out=to.narrow)
        to.total.add_(to.wide.copy_(to.narrow))
    elif left.dim() == 2:
        torch.addmm(to.total, left, right, out=to.total)
    else:
        torch.baddbmm(to.total, left, right, out=to.total)


def _add(
    sum: Tensor,  # ()
    values: Tensor,  # (1, B)
    weights: Tensor | None,
) -> None:
    if weights is not None:
        values = values * weights
    sum.add_(values.sum().to(sum))  # within a chunk torch sums pairwise
