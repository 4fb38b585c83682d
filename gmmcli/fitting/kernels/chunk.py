"""What is done with a chunk of rows: the parts that kernels share, and the loop over chunks.

All of it is plain functions of tensors, so that the loop can be compiled (gmmcli.compiled). Where they read
and write is laid out once for all chunks of so many rows: at few columns, making the views anew for each chunk takes
as long as the arithmetic.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from gmmcli.families.base import SMALLEST_LOGIT
from gmmcli.families.laying import Laying, lay_out


class Softmax(NamedTuple):
    """Where the softmax of B rows over the K components of M mixtures is made, and the sums that it adds to.

    logits: (M, K, B); highest, total, scale: (M, 1, B) to write in; log_likelihoods: (M,) float64; entropies: the
    same, or None where they are not asked for; background: (M, 1, 1) logits of a component that is the same for every
    row, or None, and backgrounds: (M,) its responsibilities.
    """

    logits: Tensor
    highest: Tensor
    total: Tensor
    scale: Tensor
    log_likelihoods: Tensor
    entropies: Tensor | None
    background: Tensor | None
    backgrounds: Tensor | None


class Product(NamedTuple):
    """Where a product over the rows of a chunk is added: total, float64; narrow: its shape, to write in, in the
    precision of the chunk; wide: the same in float64."""

    total: Tensor
    narrow: Tensor
    wide: Tensor


# Where to lay out so many rows: in the place that is given, if that is right for them.
Lay = Callable[[int, Optional[Tensor]], Laying]  # noqa: UP045


class Unit(NamedTuple):
    """Rows to add to the sums. z: (1 + D, B), or with `lay` their cells, (D, B), to be laid out chunk by chunk where
    `lay` says for so many rows; then observed: which of them are, (D, B), or None. weights: (B,) or None."""

    z: Tensor
    weights: Optional[Tensor] = None  # noqa: UP045
    observed: Optional[Tensor] = None  # noqa: UP045
    lay: Optional[Lay] = None  # noqa: UP045

    @property
    def rows(self) -> int:
        """Their number."""
        return self.z.shape[1]

    def part(self, rows: slice) -> "Unit":
        """Some of the rows."""
        weights, observed = self.weights, self.observed
        return Unit(
            self.z[:, rows],
            None if weights is None else weights[rows],
            None if observed is None else observed[:, rows],
            self.lay,
        )


# Adds the sums of rows (1 + D, B), None where they lie in the chunk's own place already, with weights (B,) or None,
# given what the kernel has laid out for chunks of so many rows: a NamedTuple of the kernel's own, which the
# annotation of the argument `chunk` names.
ChunkSums = Callable[[Tensor | None, Tensor | None, Any], None]
# Adds those of several chunks, each of so many rows: of z, weights and observed cells as a Unit has them. Last,
# whether what is laid out lies in the chunk's own place.
Loop = Callable[[Tensor, Tensor | None, Tensor | None, Any, int, Laying | None, bool], None]


@cache
def loop_of(work: ChunkSums) -> Loop:
    """The loop of `work` over the chunks of many rows."""
    kind = work.__annotations__["chunk"]

    def loop(
        z: Tensor,
        weights: Tensor | None,
        observed: Tensor | None,
        chunk: kind,  # pyright: ignore
        rows: int,
        laying: Laying | None,
        in_place: bool,
    ) -> None:
        assert isinstance(chunk, kind)  # TorchScript finds the annotation only by a name that the body uses
        for first in range(0, z.shape[1], rows):
            part: Tensor | None = z[:, first : first + rows]
            if laying is not None:
                assert part is not None
                lay_out(part, None if observed is None else observed[:, first : first + rows], laying)
                part = None if in_place else laying.z
            work(part, None if weights is None else weights[first : first + rows], chunk)

    return loop


def soften(weights: Tensor | None, at: Softmax, smallest: float = SMALLEST_LOGIT) -> Tensor:
    """The softmax over K, in place: leaves exp(logit − highest), returns what turns that into w r, (M, 1, B).

    Adds to the sums Σ w log Σ exp(logit) and, where they are asked for, −Σ w r log r and Σ w r of the background.
    """
    logits, highest, total, scale = at.logits, at.highest, at.total, at.scale
    entropies, background, backgrounds = at.entropies, at.background, at.backgrounds
    torch.amax(logits, 1, keepdim=True, out=highest)
    rest = highest
    if background is not None:
        torch.maximum(highest, background, out=highest)
        rest = (background - highest).clamp_(min=smallest)
    logits.sub_(highest).clamp_(min=smallest)
    shifted = logits if entropies is None else logits.clone()
    torch.sum(logits.exp_(), 1, keepdim=True, out=total)
    if background is not None:
        total.add_(rest.exp())
    torch.reciprocal(total, out=scale)
    if backgrounds is not None:
        _add(backgrounds, rest.exp() * scale, weights)
    if entropies is not None:  # −Σ r log r = log Σ exp(shifted) − Σ r shifted
        mean = (logits * shifted).sum(1, keepdim=True)
        if background is not None:
            mean.add_(rest.exp() * rest)
        _add(entropies, total.log() - mean * scale, weights)
    _add(at.log_likelihoods, total.log_().add_(highest), weights)
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
    sums: Tensor,  # (M,)
    values: Tensor,  # (M, 1, B)
    weights: Tensor | None,
) -> None:
    if weights is not None:
        values = values * weights
    sums.add_(values.sum([1, 2]).to(sums))  # within a chunk torch sums pairwise
