"""The loop over chunks of rows, and the parts that kernels share: softmax and products.

- `loop_of`: the loop for a kernel. `soften`, `add_product`: steps within a chunk.

All of it is plain functions of tensors, so that the loop can be compiled (gmmcli.passes.workers). The views that
they read and write are made once for all chunks of so many rows: at few columns, making them for each chunk takes as
long as the arithmetic.

The last bits of a matrix product depend on its shape, on the index of a column in it and on the alignment of its
operands. So every product of a pass is that of one mixture and one chunk, and reads and writes the chunk's own
buffers. The result for a row depends neither on where the row was before nor on the mixtures that share the reading.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from gmmcli.families.base import SMALLEST_LOGIT
from gmmcli.passes.laying import Laying, lay_out, put


class Softmax(NamedTuple):
    """Memory for the softmax of B rows over the K components of a mixture, and the sums that it adds to.

    logits: (K, B). highest, total, scale: (1, B) to write in. log_likelihood: () float64. entropy: () float64, or
    None if it is not asked for. background: () logit of a component that is the same for every row, or None.
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
    """Memory for a product over the rows of a chunk. total: float64, to which it is added.

    narrow: to write it in, in the precision of the chunk. wide: to write it in, float64.
    """

    total: Tensor
    narrow: Tensor
    wide: Tensor


class Unit(NamedTuple):
    """Rows to add to the sums. numbers: z (1 + D, B), or cells (D, B) that the loop lays out. weights: (B,) or None.

    observed: mask (D, B) of cells that are not missing; None if none is missing.
    """

    numbers: Tensor
    weights: Tensor | None = None
    observed: Tensor | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.numbers.shape[1]

    def part(self, rows: slice) -> Self:
        """Some of the rows."""
        weights = None if self.weights is None else self.weights[rows]
        observed = None if self.observed is None else self.observed[:, rows]
        return self._replace(numbers=self.numbers[:, rows], weights=weights, observed=observed)


# A function that adds the sums of the rows in a chunk's buffer `z`. Its arguments: weights (B,) or None; the kernel's
# NamedTuple of views for chunks of so many rows, whose type the annotation of the argument `chunk` names.
ChunkSums = Callable[[Tensor | None, Any], None]
# A function that adds the sums of a unit's rows, chunk by chunk. Its arguments: the unit's numbers, weights and
# observed; views for a whole chunk, and for the rest at the end; rows of a whole chunk; the slab in which cells are
# laid out, None for z.
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
        z, start, end = numbers, 0, count if laying is None else 0  # z is that of rows from start to end
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
    """Takes the softmax over K in place: leaves exp(logit − highest) and returns the factor (1, B) from that to w r.

    It adds Σ w log Σ exp(logit) to the sums and, if they are asked for, −Σ w r log r and Σ w r of the background.
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
    """Adds left @ right to the total, for matrices or batches, in one call if the precisions are the same."""
    if left.dtype != to.total.dtype:
        torch.matmul(left, right, out=to.narrow)
        to.total.add_(to.wide.copy_(to.narrow))
    elif left.dim() == 2:
        torch.addmm(to.total, left, right, out=to.total)
    else:
        torch.baddbmm(to.total, left, right, out=to.total)


def _add(sum: Tensor, values: Tensor, weights: Tensor | None) -> None:
    """Adds the weighted sum of values (1, B) to a sum ()."""
    if weights is not None:
        values = values * weights
    sum.add_(values.sum().to(sum))  # within a chunk torch sums pairwise
