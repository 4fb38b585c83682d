"""What must be known of the data before fitting: sizes, ranges, moments, and whether rows are distinct.

Two readings: the first takes exact ranges, the second the moments in units of the ranges, where they neither
overflow nor cancel, summed in fixed point so that they are the same bits however the blocks were read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.errors import InputError
from gmmcli.passes.block import Block
from gmmcli.passes.group import ALONE, Group
from gmmcli.passes.sums import FixedPoint
from gmmcli.passes.workers import map_blocks

ORDINARY = 60  # bits by which the heaviest row may be off 1 for weights to be used as they are
GOLDEN = (math.sqrt(5) - 1) / 2  # whose multiples have fractions that are all over the unit interval
LARGEST_WEIGHT = 1e300  # of all rows together: times a log-likelihood it is still a number


@dataclass(frozen=True)
class Survey:
    """Facts of the data, over the rows of positive weight that have a cell.

    rows: their number; own_rows: of them, those of this process; weighted: whether rows have weights; weight: N,
    their total; weight_unit: a power of 2 by which sums divide weights, so that they neither overflow nor are too
    small for float32, 1 for weights of ordinary size; cells: (D,) the weight of the rows in which a column is
    observed, or None where every cell is; what is said of a column is said of its observed cells; minimum, maximum,
    mean: (D,); covariance: (D, D) with divisor N, only its diagonal filled where the covariances were not asked for
    or cells are missing; different: rows no two of which are equal, up to the number that was asked for, missing
    cells at their column's mean, in an order that the order of reading does not change; order: a sum that changes
    where rows change places.
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
        """Places of the columns that have one value in all rows."""
        return (self.maximum <= self.minimum).nonzero()[:, 0].tolist()

    @property
    def fingerprint(self) -> str:
        """A hash of sizes, ranges, moments and the order of rows: the same for the same data however it was read."""
        digest = hashlib.sha256(repr((self.rows, self.weight, self.order)).encode())
        for tensor in (self.minimum, self.maximum, self.mean, self.variances):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def scores(
        self,
        x: Tensor,  # (B, D)
    ) -> Tensor:
        """Rows in data units as z-scores by column, (B, D); 0 in a column that is constant."""
        std = self.variances.sqrt()
        return (x - self.mean) / torch.where(std > 0, std, torch.ones_like(std))


def counted_rows(block: Block) -> Block:
    """The block's rows of positive weight that have a cell: the others are as if they were not there."""
    return _taken(block, _counts(block))


def _taken(block: Block, keep: Tensor | None) -> Block:
    if keep is None:
        return block
    weights, observed = (None if t is None else t[keep] for t in (block.weights, block.observed))
    return replace(block, cells=block.cells[keep], weights=weights, observed=observed)


def _counts(block: Block) -> Tensor | None:
    """Which rows do, (B,); None where all do."""
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
    threads: int,
    names: Sequence[str] | None = None,
    group: Group = ALONE,
    few_columns: int = 0,
) -> Survey:
    """Reads the data twice. Raises InputError where no row has weight and a cell, and for numbers too far apart.

    blocks: those of this process; distinct: how far different rows are counted; covariances: whether the off-diagonal
    moments are taken, where every cell is observed; few_columns: of at most so many they are taken anyway; names: of
    the columns, which a group must give.
    """
    found = _Ranges.none(len(names)) if names is not None else None
    for part in map_blocks(lambda block: _ranges(block, distinct), blocks, threads):
        if part is not None:
            found = part if found is None else found.merge(part, distinct)
    own_rows = 0 if found is None else found.rows
    found = None if found is None else found.over(group, distinct)
    if found is None or not found.rows:
        raise InputError("no row has a positive weight")
    rows, heaviest, different = found.rows, found.heaviest, found.different
    covariances = (covariances or len(found.low) <= few_columns) and found.complete
    # 0 for a column without a cell, and not −0, of which it depends on the order whether it is the least of zeros
    low, high = (torch.where(end.isfinite(), end, 0) + 0.0 for end in (found.low, found.high))
    wide: list[int] = (~(high - low).isfinite()).nonzero()[:, 0].tolist()
    if wide:
        listed = ", ".join(names[d] if names else f"x{d + 1}" for d in wide)
        raise InputError(f"column {listed} reaches over more than a number can hold: divide it by some number first")
    middle = low + (high - low) / 2
    half = torch.where(high > low, (high - low) / 2, torch.ones_like(low))

    dims = len(low)
    exponent = math.frexp(heaviest)[1] - 1
    unit = 1.0 if abs(exponent) <= ORDINARY else 2.0**exponent
    size = 2 + 2 * dims + (dims * dims if covariances else dims)
    total = FixedPoint.zeros(torch.full((size,), rows * (heaviest / unit), dtype=torch.float64))
    for part in map_blocks(lambda block: _moments(block, unit, middle, half, covariances), blocks, threads):
        total.add_(part)
    sums = total.reduced(group.sum).decode()
    weight, cells = float(sums[0]), sums[1 : dims + 1]
    if weight * unit > LARGEST_WEIGHT:
        raise InputError("the row weights add up to more than a number can hold: divide them all by the same number")
    by = torch.where(cells > 0, cells, torch.ones_like(cells))
    mean = sums[dims + 1 : 2 * dims + 1] / by
    second = sums[2 * dims + 1 : -1]
    second = second.reshape(dims, dims) / weight if covariances else (second / by).diag_embed()
    covariance = second - (mean[:, None] * mean if covariances else mean.square().diag_embed())
    variances = torch.where(high > low, covariance.diagonal().clamp_min(0), torch.zeros_like(mean))
    covariance = half[:, None] * (covariance - covariance.diagonal().diag_embed() + variances.diag_embed()) * half
    mean = middle + half * mean
    different, there = different.tensor_split(2, 1)
    different = torch.where(there > 0, different, mean)
    return Survey(
        rows=rows,
        own_rows=own_rows,
        weighted=found.weighted,
        weight=weight * unit,
        weight_unit=unit,
        cells=None if found.complete else cells * unit,
        minimum=low,
        maximum=high,
        mean=mean,
        covariance=covariance,
        different=different,
        order=float(sums[-1]),
    )


@dataclass(frozen=True)
class _Ranges:
    """low, high: (D,) least and greatest cells, infinite where there is none; rows, heaviest: their number and the
    greatest weight; different: different rows, and which cells they have; weighted: whether rows have weights;
    complete: whether all cells are there."""

    low: Tensor  # (D,)
    high: Tensor  # (D,)
    rows: int
    heaviest: float
    different: Tensor  # (·, 2 D)
    weighted: bool
    complete: bool

    @classmethod
    def none(cls, dims: int) -> _Ranges:
        """Those of no rows."""
        end = torch.full((dims,), math.inf, dtype=torch.float64)
        return cls(end, -end, 0, 0.0, end.new_empty(0, 2 * dims), False, True)

    def merge(self, other: _Ranges, distinct: int) -> _Ranges:
        """Those of the rows of both."""
        return _Ranges(
            self.low.minimum(other.low),
            self.high.maximum(other.high),
            self.rows + other.rows,
            max(self.heaviest, other.heaviest),
            torch.cat([self.different, other.different]).unique(dim=0)[:distinct],
            self.weighted or other.weighted,
            self.complete and other.complete,
        )

    def over(self, group: Group, distinct: int) -> _Ranges:
        """Those of the rows of all processes."""
        if group.size == 1:
            return self
        more = torch.tensor([self.heaviest, self.weighted, not self.complete], dtype=torch.float64)
        most = group.greatest(torch.cat([-self.low, self.high, more]))
        low, high, (heaviest, weighted, incomplete) = most.split([len(self.low), len(self.high), 3])
        return _Ranges(
            -low,
            high,
            int(group.sum(torch.tensor([self.rows]))),
            float(heaviest),
            group.joined(self.different).unique(dim=0)[:distinct],
            bool(weighted),
            not incomplete,
        )


def _ranges(block: Block, distinct: int) -> _Ranges | None:
    """Those of a block, None where no row counts."""
    weighted, block = block.weights is not None, counted_rows(block)
    x, there = block.x, block.observed
    if not len(x):
        return None
    heaviest = 1.0 if block.weights is None else float(block.weights.max())
    if there is None:
        some = _distinct(x, distinct)
        some = torch.cat([some, torch.ones_like(some)], 1)
        return _Ranges(x.amin(0), x.amax(0), len(x), heaviest, some, weighted, True)
    low, high = (torch.where(there, x, end) for end in (math.inf, -math.inf))
    some = _distinct(torch.cat([torch.where(there, x, 0), there.to(x)], 1), distinct)
    return _Ranges(low.amin(0), high.amax(0), len(x), heaviest, some, weighted, False)


def _distinct(x: Tensor, limit: int) -> Tensor:
    """Up to `limit` different rows of x, from the beginning of x where enough are found there, in order of value."""
    size = 2 * limit
    while len(found := x[:size].unique(dim=0)) < limit and size < len(x):
        size *= 4
    return found[:limit]


def _moments(block: Block, unit: float, middle: Tensor, half: Tensor, covariances: bool) -> Tensor:
    places, keep = (block.rows.double() * GOLDEN).frac_(), _counts(block)
    places = places if keep is None else places[keep]
    block = _taken(block, keep)
    u = block.x.mT.contiguous()  # (D, B), so that the sums are the same however the block holds its rows
    u = (u - middle[:, None]) / half[:, None]
    w = u.new_ones(u.shape[1]) if block.weights is None else block.weights / unit
    cells = w.sum().expand(len(middle))
    if block.observed is not None:
        observed = block.observed.mT.contiguous()
        u, cells = torch.where(observed, u, 0), observed.to(w) @ w
    weighted = u * w
    second = (weighted @ u.mT).flatten() if covariances else (weighted * u).sum(1)
    order = (weighted @ places).sum() / len(middle)
    return torch.cat([w.sum()[None], cells, weighted.sum(1), second, order[None]])
