"""What is done with a chunk of rows: the parts that kernels share, and the loop over chunks.

All of it is plain functions of tensors, so that the loop can be compiled (gmmcli.compiled). Where they read
and write is laid out once for all chunks of so many rows: at few columns, making the views anew for each chunk takes
as long as the arithmetic.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from gmmcli.families.base import SMALLEST_LOGIT
from gmmcli.families.coordinates import Affine
from gmmcli.families.laying import LEAST_COLUMNS, Laying, lay_out, laying


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


class Lay(NamedTuple):
    """How cells are laid out: the coordinates, how many numbers a row has then, and of which precision."""

    affine: Affine
    features: int
    dtype: torch.dtype

    def __call__(self, rows: int, place: Tensor | None = None) -> Laying:
        """For so many rows, in `place`, (features, LEAST_COLUMNS or more), or without one in memory of its own."""
        if place is None:
            place = torch.empty(self.features, max(rows, LEAST_COLUMNS), dtype=self.dtype)
        return laying(self.affine, place, rows)


class Unit(NamedTuple):
    """Rows to add to the sums. numbers: z (1 + D, B) or, with `lay`, the cells (D, B), which are laid out chunk by
    chunk; observed: which of these are, (D, B), or None. weights: (B,) or None."""

    numbers: Tensor
    weights: Tensor | None = None
    observed: Tensor | None = None
    lay: Lay | None = None

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


# Adds the sums of rows (1 + D, B), None where they lie in the chunk's own place already, with weights (B,) or None,
# given what the kernel has laid out for chunks of so many rows: a NamedTuple of the kernel's own, which the
# annotation of the argument `chunk` names.
ChunkSums = Callable[[Tensor | None, Tensor | None, Any], None]
# Adds those of several chunks, each of so many rows: of what a Unit has. Last,
# whether what is laid out lies in the chunk's own place.
Loop = Callable[[Tensor, Tensor | None, Tensor | None, Any, int, Laying | None, bool], None]


@cache
def loop_of(work: ChunkSums) -> Loop:
    """The loop of `work` over the chunks of many rows."""
    kind = work.__annotations__["chunk"]

    def loop(
        numbers: Tensor,
        weights: Tensor | None,
        observed: Tensor | None,
        chunk: kind,  # pyright: ignore
        rows: int,
        laying: Laying | None,
        in_place: bool,
    ) -> None:
        assert isinstance(chunk, kind)  # TorchScript finds the annotation only by a name that the body uses
        for first in range(0, numbers.shape[1], rows):
            part: Tensor | None = numbers[:, first : first + rows]
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
