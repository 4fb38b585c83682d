"""What must be known of the data before fitting: sizes, ranges, moments, and whether rows are distinct.

Two readings: the first takes exact ranges, the second the moments in units of the ranges, where they neither
overflow nor cancel, summed in fixed point so that they are the same bits however the blocks were read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.blocks import Block
from gmmcli.errors import InputError
from gmmcli.fitting.statistics import FixedPoint
from gmmcli.fitting.workers import map_blocks

ORDINARY = 60  # bits by which the heaviest row may be off 1 for weights to be used as they are
LARGEST_WEIGHT = 1e300  # of all rows together: times a log-likelihood it is still a number


@dataclass(frozen=True)
class Survey:
    """Facts of the data, over the rows of positive weight that have a cell.

    rows: their number; weight: N, their total weight; weight_unit: a power of 2 by which sums divide weights, so that
    they neither overflow nor are too small for float32, 1 for weights of ordinary size; cells: (D,) the weight of the
    rows in which a column is observed, or None where every cell is; what is said of a column is said of its observed
    cells; minimum, maximum, mean: (D,); covariance: (D, D) with divisor N, only its diagonal filled where the
    covariances were not asked for or cells are missing; different: rows no two of which are equal, up to the number
    that was asked for, missing cells at their column's mean, in an order that the order of reading does not change.
    """

    rows: int
    weight: float
    weight_unit: float
    cells: Tensor | None  # (D,)
    minimum: Tensor  # (D,)
    maximum: Tensor  # (D,)
    mean: Tensor  # (D,)
    covariance: Tensor  # (D, D)
    different: Tensor  # (up to the limit, D)

    @property
    def distinct(self) -> int:
        """Number of different rows, up to the limit that was asked for."""
        return len(self.different)

    @property
    def variances(self) -> Tensor:
        """(D,) with divisor N."""
        return self.covariance.diagonal()

    @property
    def constant(self) -> list[int]:
        """Places of the columns that have one value in all rows."""
        return (self.maximum <= self.minimum).nonzero()[:, 0].tolist()

    def scores(
        self,
        x: Tensor,  # (B, D)
    ) -> Tensor:
        """Rows in data units as z-scores by column, (B, D); 0 in a column that is constant."""
        std = self.variances.sqrt()
        return (x - self.mean) / torch.where(std > 0, std, torch.ones_like(std))


def counted_rows(block: Block) -> Block:
    """The block's rows of positive weight that have a cell: the others are as if they were not there."""
    keep = None if block.weights is None else block.weights > 0
    if block.observed is not None:
        some = block.observed.any(1)
        keep = some if keep is None else keep & some
    if keep is None or bool(keep.all()):
        return block
    weights, observed = (None if t is None else t[keep] for t in (block.weights, block.observed))
    return replace(block, x=block.x[keep], weights=weights, observed=observed)


def survey(
    blocks: Iterable[Block], *, distinct: int, covariances: bool, threads: int, names: Sequence[str] | None = None
) -> Survey:
    """Reads the data twice. Raises InputError where no row has weight and a cell, and for numbers too far apart.

    distinct: how far different rows are counted; covariances: whether the off-diagonal moments are taken, where
    every cell is observed; names: of the columns, for messages.
    """
    ranges = None
    rows, heaviest, different, complete = 0, 0.0, None, True
    for part in map_blocks(lambda block: _range(block, distinct), blocks, threads):
        if part is None:
            continue
        low, high, count, weight, some, whole = part
        rows, heaviest, complete = rows + count, max(heaviest, weight), complete and whole
        ranges = (low, high) if ranges is None else (ranges[0].minimum(low), ranges[1].maximum(high))
        different = some if different is None else torch.cat([different, some]).unique(dim=0)[:distinct]
    if ranges is None or different is None:
        raise InputError("no row has a positive weight")
    covariances = covariances and complete
    low, high = (torch.where(end.isfinite(), end, 0) for end in ranges)  # of a column without a cell
    wide: list[int] = (~(high - low).isfinite()).nonzero()[:, 0].tolist()
    if wide:
        listed = ", ".join(names[d] if names else f"x{d + 1}" for d in wide)
        raise InputError(f"column {listed} reaches over more than a number can hold: divide it by some number first")
    middle = low + (high - low) / 2
    half = torch.where(high > low, (high - low) / 2, torch.ones_like(low))

    dims = len(low)
    exponent = math.frexp(heaviest)[1] - 1
    unit = 1.0 if abs(exponent) <= ORDINARY else 2.0**exponent
    size = 1 + 2 * dims + (dims * dims if covariances else dims)
    total = FixedPoint.zeros(torch.full((size,), rows * (heaviest / unit), dtype=torch.float64))
    for part in map_blocks(lambda block: _moments(block, unit, middle, half, covariances), blocks, threads):
        total.add_(part)
    sums = total.decode()
    weight, cells = float(sums[0]), sums[1 : dims + 1]
    if weight * unit > LARGEST_WEIGHT:
        raise InputError("the row weights add up to more than a number can hold: divide them all by the same number")
    by = torch.where(cells > 0, cells, torch.ones_like(cells))
    mean = sums[dims + 1 : 2 * dims + 1] / by
    second = sums[2 * dims + 1 :]
    second = second.reshape(dims, dims) / weight if covariances else (second / by).diag_embed()
    covariance = second - (mean[:, None] * mean if covariances else mean.square().diag_embed())
    variances = torch.where(high > low, covariance.diagonal().clamp_min(0), torch.zeros_like(mean))
    covariance = half[:, None] * (covariance - covariance.diagonal().diag_embed() + variances.diag_embed()) * half
    mean = middle + half * mean
    different, there = different.tensor_split(2, 1)
    different = torch.where(there > 0, different, mean)
    return Survey(
        rows, weight * unit, unit, None if complete else cells * unit, low, high, mean, covariance, different
    )


def _range(block: Block, distinct: int) -> tuple[Tensor, Tensor, int, float, Tensor, bool] | None:
    """Least and greatest cells (D,), rows, the greatest weight, different rows with which cells they have (·, 2 D),
    and whether all cells are there."""
    block = counted_rows(block)
    x, there = block.x, block.observed
    if not len(x):
        return None
    heaviest = 1.0 if block.weights is None else float(block.weights.max())
    if there is None:
        some = _distinct(x, distinct)
        return x.amin(0), x.amax(0), len(x), heaviest, torch.cat([some, torch.ones_like(some)], 1), True
    low, high = (torch.where(there, x, end) for end in (math.inf, -math.inf))
    some = _distinct(torch.cat([torch.where(there, x, 0), there.to(x)], 1), distinct)
    return low.amin(0), high.amax(0), len(x), heaviest, some, False


def _distinct(x: Tensor, limit: int) -> Tensor:
    """Up to `limit` different rows of x, from the beginning of x where enough are found there, in order of value."""
    size = 2 * limit
    while len(found := x[:size].unique(dim=0)) < limit and size < len(x):
        size *= 4
    return found[:limit]


def _moments(block: Block, unit: float, middle: Tensor, half: Tensor, covariances: bool) -> Tensor:
    block = counted_rows(block)
    u = (block.x - middle) / half
    w = u.new_ones(len(u)) if block.weights is None else block.weights / unit
    cells = w.sum().expand(len(middle))
    if block.observed is not None:
        u, cells = torch.where(block.observed, u, 0), w @ block.observed.to(w)
    weighted = u * w[:, None]
    second = (weighted.mT @ u).flatten() if covariances else (weighted * u).sum(0)
    return torch.cat([w.sum()[None], cells, weighted.sum(0), second])
