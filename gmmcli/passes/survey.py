"""Survey of the data before a fit: sizes, ranges, moments, and how many rows differ.

Two readings. The first takes exact ranges. The second takes moments in units of the ranges, where they neither
overflow nor cancel. They are summed in fixed point, so that they have the same bits however the blocks were read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.errors import Remedy, RowsError
from gmmcli.passes.block import Block
from gmmcli.passes.execution import ALONE, Group, Meter
from gmmcli.passes.reading import Reading, Task, read
from gmmcli.passes.sums import Sums
from gmmcli.storage.names import listing

ORDINARY = 60  # bits: weights are used as they are if the heaviest row's is within 2^±ORDINARY
GOLDEN = (math.sqrt(5) - 1) / 2  # the fractions of its multiples are spread evenly over the unit interval
LARGEST_WEIGHT = 1e300  # of all rows together: its product with a log-likelihood is finite


@dataclass(frozen=True)
class Survey:
    """Facts of the data, over the usable rows: those of positive weight that have a cell.

    rows: their number; own_rows: those of this process. weighted: whether rows have weights. weight: N, the total
    weight. weight_unit: a power of 2 by which sums divide weights, so that they neither overflow nor are too small
    for float32; 1 for weights of ordinary size. cells: (D,) the weight of the rows in which a column is observed, or
    None if every cell is. minimum, maximum, mean: (D,), over the observed cells of a column. covariance: (D, D) with
    divisor N; only the diagonal is filled if covariances were not asked for or cells are missing. different: distinct
    rows, up to the number that was asked for, a missing cell at its column's mean; their order does not depend on the
    order of reading. order: a sum that changes where rows change places.
    """

    rows: int
    own_rows: int
    weighted: bool
    weight: float
    weight_unit: float
    cells: Tensor | None  # (D,)
    minimum: Tensor  # (D,)
    maximum: Tensor  # (D,)
    mean: Tensor  # (D,)
    covariance: Tensor  # (D, D)
    different: Tensor  # (up to the limit, D)
    order: float

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
        """Indices of the columns that have one value in all rows."""
        return (self.maximum <= self.minimum).nonzero()[:, 0].tolist()

    @property
    def fingerprint(self) -> str:
        """Hash of sizes, ranges, moments and the order of rows. It does not depend on how the data was read."""
        digest = hashlib.sha256(repr((self.rows, self.weight, self.order)).encode())
        for tensor in (self.minimum, self.maximum, self.mean, self.variances):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def scores(
        self,
        x: Tensor,  # (B, D)
    ) -> Tensor:
        """Z-scores by column, (B, D), of rows in data units; 0 in a constant column."""
        std = self.variances.sqrt()
        return (x - self.mean) / torch.where(std > 0, std, torch.ones_like(std))


def _taken(block: Block, keep: Tensor | None) -> Block:
    if keep is None:
        return block
    weights, observed = (None if t is None else t[keep] for t in (block.weights, block.observed))
    return replace(block, cells=block.cells[keep], weights=weights, observed=observed)


def _usable(block: Block) -> Tensor | None:
    """Mask (B,) of the usable rows; None if all are usable."""
    keep = None if block.weights is None else block.weights > 0
    if block.observed is not None:
        some = block.observed.any(1)
        keep = some if keep is None else keep & some
    return None if keep is None or bool(keep.all()) else keep


def survey(
    blocks: Iterable[Block],
    *,
    distinct: int,
    covariances: bool,
    names: Sequence[str] | None = None,
    group: Group = ALONE,
    few_columns: int = 0,
    meter: Meter | None = None,
) -> Task[Survey]:
    """Reads the data twice. Raises RowsError where no row has weight and a cell, and for numbers too far apart.

    blocks: those of this process. distinct: how far different rows are counted. covariances: whether the off-diagonal
    moments are taken, where every cell is observed. few_columns: with at most so many columns they are taken anyway.
    names: of the columns; required in a group of several processes. meter: counts the rows.
    """
    dims = None if names is None else len(names)
    ranges = yield from read(Reading(lambda: Ranges(distinct, dims), blocks, None, group, meter))
    if not ranges.rows:
        raise RowsError("no row has a positive weight")
    covariances = (covariances or len(ranges.low) <= few_columns) and ranges.complete
    # 0 for a column without a cell. Adding 0.0 turns −0 into 0: which of the two is the minimum depends on the order.
    low, high = (torch.where(end.isfinite(), end, 0) + 0.0 for end in (ranges.low, ranges.high))
    wide: list[int] = (~(high - low).isfinite()).nonzero()[:, 0].tolist()
    problem, remedy = "the values span more than a number can hold", "divide them by a number first"
    refuse_columns(problem, names or [f"x{d + 1}" for d in range(len(low))], wide, remedy)
    exponent = math.frexp(ranges.heaviest)[1] - 1
    unit = 1.0 if abs(exponent) <= ORDINARY else 2.0**exponent
    scaling = Scaling(unit, low + (high - low) / 2, torch.where(high > low, (high - low) / 2, 1.0), covariances)
    most = ranges.rows * (ranges.heaviest / unit)
    moments = yield from read(Reading(lambda: Moments(scaling, most), blocks, None, group, meter))
    weight, cells = moments.weight, moments.cells
    if weight * unit > LARGEST_WEIGHT:
        raise RowsError(
            "the row weights add up to more than a number can hold", remedy="divide them all by the same number"
        )
    by = torch.where(cells > 0, cells, torch.ones_like(cells))
    mean = moments.first / by
    second = moments.second / weight if covariances else (moments.second / by).diag_embed()
    covariance = second - (mean[:, None] * mean if covariances else mean.square().diag_embed())
    variances = torch.where(high > low, covariance.diagonal().clamp_min(0), torch.zeros_like(mean))
    covariance = covariance - covariance.diagonal().diag_embed() + variances.diag_embed()
    covariance = scaling.half[:, None] * covariance * scaling.half
    mean = scaling.middle + scaling.half * mean
    different, there = ranges.different.tensor_split(2, 1)
    return Survey(
        rows=ranges.rows,
        own_rows=ranges.own_rows,
        weighted=ranges.weighted,
        weight=weight * unit,
        weight_unit=unit,
        cells=None if ranges.complete else cells * unit,
        minimum=low,
        maximum=high,
        mean=mean,
        covariance=covariance,
        different=torch.where(there > 0, different, mean),
        order=moments.order,
    )


class Ranges:
    """Fold of the first reading.

    low, high: (D,) minima and maxima of the observed cells, infinite where a column has none. rows: number of usable
    rows; own_rows: those of this process. heaviest: the greatest weight. different: up to `distinct` different rows,
    (·, 2 D): cells, then the mask of observed cells. weighted: whether rows have weights. complete: whether every
    cell is observed.
    """

    def __init__(self, distinct: int, dims: int | None) -> None:
        self._distinct = distinct
        self.rows = self.own_rows = 0
        self.heaviest = 0.0
        self.weighted, self.complete = False, True
        self._start(dims or 0)

    def _start(self, dims: int) -> None:
        self.low = torch.full((dims,), math.inf, dtype=torch.float64)
        self.high = -self.low
        self.different = self.low.new_empty(0, 2 * dims)

    def add(self, block: Block) -> None:
        """Takes in a block."""
        weighted, block = block.weights is not None, _taken(block, _usable(block))
        x, there = block.x, block.observed
        if not len(x):
            return
        own = Ranges(self._distinct, x.shape[1])
        own.rows, own.weighted, own.complete = len(x), weighted, there is None
        own.heaviest = 1.0 if block.weights is None else float(block.weights.max())
        if there is None:
            own.low, own.high = x.amin(0), x.amax(0)
            cells = _distinct(x, self._distinct)
            own.different = torch.cat([cells, torch.ones_like(cells)], 1)
        else:
            own.low, own.high = torch.where(there, x, math.inf).amin(0), torch.where(there, x, -math.inf).amax(0)
            own.different = _distinct(torch.cat([torch.where(there, x, 0), there.to(x)], 1), self._distinct)
        self.merge(own)

    def merge(self, other: Ranges) -> None:
        """Takes in the rows of another fold."""
        if not len(self.low):
            self._start(len(other.low))
        if len(other.low):
            self.low, self.high = self.low.minimum(other.low), self.high.maximum(other.high)
            self.rows += other.rows
            self.heaviest = max(self.heaviest, other.heaviest)
            self.different = torch.cat([self.different, other.different]).unique(dim=0)[: self._distinct]
            self.weighted |= other.weighted
            self.complete &= other.complete

    def result(self, group: Group) -> Ranges:
        """The ranges of all processes."""
        self.own_rows = self.rows
        if group.size > 1:
            flags = torch.tensor([self.heaviest, self.weighted, not self.complete], dtype=torch.float64)
            most = group.greatest(torch.cat([-self.low, self.high, flags]))
            low, high, (heaviest, weighted, incomplete) = most.split([len(self.low), len(self.high), 3])
            self.low, self.high, self.heaviest = -low, high, float(heaviest)
            self.weighted, self.complete = bool(weighted), not incomplete
            self.rows = int(group.sum(torch.tensor([self.rows])))
            self.different = group.joined(self.different).unique(dim=0)[: self._distinct]
        return self


@dataclass(frozen=True)
class Scaling:
    """Moments are of cells (x − middle) / half and weights w / unit. covariances: whether products are summed."""

    unit: float
    middle: Tensor  # (D,)
    half: Tensor  # (D,)
    covariances: bool


class Moments(Sums):
    """Fold of the second reading, after the ranges are known: sums in fixed point, over scaled cells u and weights w.

    weight: Σ w. cells: (D,) Σ w over the rows in which a column is observed. first: (D,) Σ w u. second: Σ w u uᵀ
    (D, D), or Σ w u² (D,). order: a sum that changes where rows change places. most: an upper bound of Σ w.
    """

    def __init__(self, scaling: Scaling, most: float) -> None:
        self._scaling = scaling
        dims = len(scaling.middle)
        self._sizes = [1, dims, dims, dims * dims if scaling.covariances else dims, 1]
        super().__init__(torch.full((sum(self._sizes),), most, dtype=torch.float64))

    def add(self, block: Block) -> None:
        """Takes in a block."""
        scaling = self._scaling
        positions, keep = (block.rows.double() * GOLDEN).frac_(), _usable(block)
        positions = positions if keep is None else positions[keep]
        block = _taken(block, keep)
        u = block.x.mT.contiguous()  # (D, B): the sums do not depend on how the block holds its rows
        u = (u - scaling.middle[:, None]) / scaling.half[:, None]
        w = u.new_ones(u.shape[1]) if block.weights is None else block.weights / scaling.unit
        cells = w.sum().expand(len(u))
        if block.observed is not None:
            observed = block.observed.mT.contiguous()
            u, cells = torch.where(observed, u, 0), observed.to(w) @ w
        weighted = u * w
        second = (weighted @ u.mT).flatten() if scaling.covariances else (weighted * u).sum(1)
        order = (weighted @ positions).sum() / len(u)
        self._total.add_(torch.cat([w.sum()[None], cells, weighted.sum(1), second, order[None]]))

    def result(self, group: Group) -> Moments:
        """The moments over all processes. Raises NumericalError where a sum is not finite."""
        parts = self.over(group).split(self._sizes)
        self.weight, self.cells, self.first, self.order = float(parts[0]), parts[1], parts[2], float(parts[4])
        dims = len(self.first)
        self.second = parts[3].reshape(dims, dims) if self._scaling.covariances else parts[3]
        return self


def _distinct(x: Tensor, limit: int) -> Tensor:
    """Up to `limit` different rows of x, from the beginning of x where enough are found there, in order of value."""
    size = 2 * limit
    while len(found := x[:size].unique(dim=0)) < limit and size < len(x):
        size *= 4
    return found[:limit]


def refuse_columns(problem: str, names: Sequence[str], indices: Sequence[int], remedy: str | Remedy) -> None:
    """Raises RowsError if a column has the problem. names: of all columns; indices: of the columns that have it."""
    if indices:
        raise RowsError(problem, subject=f"column {listing([names[d] for d in indices])}", remedy=remedy)
