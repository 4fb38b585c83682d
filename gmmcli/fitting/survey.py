"""What must be known of the data before fitting: sizes, ranges, moments, and whether rows are distinct.

Two readings: the first takes exact ranges, the second the moments in units of the ranges, where they neither
overflow nor cancel, summed in fixed point so that they are the same bits however the blocks were read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

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
    """Facts of the data, over the rows of positive weight.

    rows: their number; weight: N, their total weight; weight_unit: a power of 2 by which sums divide weights, so that
    they neither overflow nor are too small for float32, 1 for weights of ordinary size; minimum, maximum, mean: (D,);
    covariance: (D, D) with divisor N, only its diagonal filled where the covariances were not asked for; different:
    rows no two of which are equal, up to the number that was asked for, in an order that the order of reading does
    not change.
    """

    rows: int
    weight: float
    weight_unit: float
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

    def scores(
        self,
        x: Tensor,  # (B, D)
    ) -> Tensor:
        """Rows in data units as z-scores by column, (B, D); 0 in a column that is constant."""
        std = self.variances.sqrt()
        return (x - self.mean) / torch.where(std > 0, std, torch.ones_like(std))


def weighted_rows(block: Block) -> tuple[Tensor, Tensor | None]:
    """The block's rows of positive weight and their weights; a row of weight 0 is as if it were not there."""
    if block.weights is None:
        return block.x, None
    keep = block.weights > 0
    return block.x[keep], block.weights[keep]


def survey(blocks: Iterable[Block], *, distinct: int, covariances: bool, threads: int) -> Survey:
    """Reads the data twice. Raises InputError where no row has weight.

    distinct: how far different rows are counted; covariances: whether the off-diagonal moments are taken.
    """
    ranges = None
    rows, heaviest, different = 0, 0.0, None
    for part in map_blocks(lambda block: _range(block, distinct), blocks, threads):
        if part is None:
            continue
        low, high, count, weight, some = part
        rows, heaviest = rows + count, max(heaviest, weight)
        ranges = (low, high) if ranges is None else (ranges[0].minimum(low), ranges[1].maximum(high))
        different = some if different is None else torch.cat([different, some]).unique(dim=0)[:distinct]
    if ranges is None or different is None:
        raise InputError("no row has a positive weight")
    low, high = ranges
    middle = low + (high - low) / 2
    half = torch.where(high > low, (high - low) / 2, torch.ones_like(low))

    dims = len(low)
    exponent = math.frexp(heaviest)[1] - 1
    unit = 1.0 if abs(exponent) <= ORDINARY else 2.0**exponent
    size = 1 + dims + (dims * dims if covariances else dims)
    total = FixedPoint.zeros(torch.full((size,), rows * (heaviest / unit), dtype=torch.float64))
    for part in map_blocks(lambda block: _moments(block, unit, middle, half, covariances), blocks, threads):
        total.add_(part)
    sums = total.decode()
    weight = float(sums[0])
    if weight * unit > LARGEST_WEIGHT:
        raise InputError("the row weights add up to more than a number can hold: divide them all by the same number")
    mean = sums[1 : dims + 1] / weight
    second = sums[dims + 1 :] / weight
    second = second.reshape(dims, dims) if covariances else second.diag_embed()
    covariance = second - (mean[:, None] * mean if covariances else mean.square().diag_embed())
    variances = torch.where(high > low, covariance.diagonal().clamp_min(0), torch.zeros_like(mean))
    covariance = half[:, None] * (covariance - covariance.diagonal().diag_embed() + variances.diag_embed()) * half
    return Survey(rows, weight * unit, unit, low, high, middle + half * mean, covariance, different)


def _range(block: Block, distinct: int) -> tuple[Tensor, Tensor, int, float, Tensor] | None:
    x, weights = weighted_rows(block)
    if not len(x):
        return None
    heaviest = 1.0 if weights is None else float(weights.max())
    return x.amin(0), x.amax(0), len(x), heaviest, _distinct(x, distinct)


def _distinct(x: Tensor, limit: int) -> Tensor:
    """Up to `limit` different rows of x, from the beginning of x where enough are found there, in order of value."""
    size = 2 * limit
    while len(found := x[:size].unique(dim=0)) < limit and size < len(x):
        size *= 4
    return found[:limit]


def _moments(block: Block, unit: float, middle: Tensor, half: Tensor, covariances: bool) -> Tensor:
    x, weights = weighted_rows(block)
    u = (x - middle) / half
    w = u.new_ones(len(u)) if weights is None else weights / unit
    weighted = u * w[:, None]
    second = (weighted.mT @ u).flatten() if covariances else (weighted * u).sum(0)
    return torch.cat([w.sum()[None], weighted.sum(0), second])
