"""`patterns`: rows grouped by the columns that they lack."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor


def patterns(
    missing: Tensor,  # (B, D) bool
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Indices of the rows that lack the same columns, with the observed and the missing columns."""
    masks, own = missing.unique(dim=0, return_inverse=True)
    order = own.argsort(stable=True)
    for mask, places in zip(masks, order.split(own.bincount(minlength=len(masks)).tolist()), strict=True):
        yield places, (~mask).nonzero()[:, 0], mask.nonzero()[:, 0]
