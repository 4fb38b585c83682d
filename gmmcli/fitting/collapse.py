"""Mending of a mixture with a collapsed component: `reset` moves the component elsewhere, `without` drops it.

The likelihood is unbounded where a component falls on few rows. Such a component is reset to a row of low density,
with the mean covariance of the others: rows far from every component show where one is missing. The row is drawn
among the worst explained ones, so that a single outlier does not attract every component.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.model.scores import log_joint_of_rows
from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.execution import Group
from gmmcli.passes.layout import LateBlock, PreparedBlock
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import Task, read

MOST_CANDIDATES = 10_000  # rows


def reset(data: PreparedData, family: Family, p: Parameters, component: int, seed: int, key: str) -> Task[Parameters]:
    """The mixture with this component at one of the rows that it explains worst. Takes a reading of the data."""
    share = 1 / p.components
    count = max(family.rank_rows(p.dims), math.ceil(share * data.summary.rows / 2))
    count = min(count, MOST_CANDIDATES)
    z, rows = yield from read(data.reading(lambda: WorstRows(data, family, p, count)))
    means = p.means.clone()
    means[component] = z[row_uniforms(seed, key, rows).argmin()]
    weights = p.weights.clone()
    weights[component] = 0
    if float(weights.sum()) <= 0:  # a background has taken all rows of the others
        weights = torch.ones_like(weights)
        weights[component] = 0
    weights = weights / weights.sum()
    covariances = family.covariances(p.scale, p.dims).expand(p.components, -1, -1).clone()
    covariances[component] = (weights[:, None, None] * covariances).sum(0)
    weights = (1 - share) * weights
    weights[component] = share
    scale = family.from_moments(weights, means, covariances).scale if family.learned else p.scale
    background = None if p.background is None else p.background.clamp_max(1 - share)
    return Parameters(weights, means, scale).beside(background)


def without(p: Parameters, component: int) -> Parameters:
    """The mixture of the other components."""
    rest = p.order(torch.tensor([k for k in range(p.components) if k != component]))
    return rest.beside(p.background)


class WorstRows:
    """Fold: the `count` rows of least density and their numbers, (count, D) and (count,); ties by number.

    Rows are in the coordinates of the fit. The density of a row with missing cells is that of its observed cells; a
    missing cell is 0, the mean of all.
    """

    def __init__(self, data: PreparedData, family: Family, p: Parameters, count: int) -> None:
        self._log_joint = log_joint_of_rows(data, family, replace(p, background=None), exact=True)
        self._dims, self._count = data.dims, count
        none = torch.empty(0, dtype=torch.float64)
        self._worst: _Explained = none, torch.empty(0, data.dims, dtype=torch.float64), none.long()

    def add(self, block: LateBlock | PreparedBlock) -> None:
        """Takes in a block."""
        self._worst = _least([self._worst, *map(self._explained, block.laid_out().split(1 << 15))], self._count)

    def _explained(self, block: PreparedBlock) -> _Explained:
        z = block.z[1 : 1 + self._dims].to("cpu", torch.float64)
        densities = self._log_joint(block.z).logsumexp(0).cpu()
        if block.weights is not None:
            densities = densities.masked_fill(block.weights.to("cpu") <= 0, math.inf)
        return densities, z.mT, block.rows.cpu()

    def merge(self, other: WorstRows) -> None:
        """Takes in the rows of another fold."""
        self._worst = _least([self._worst, other._worst], self._count)

    def result(self, group: Group) -> tuple[Tensor, Tensor]:
        """The rows of all processes, least density first, and their numbers."""
        densities, z, rows = (group.joined(part) for part in self._worst)
        _, z, rows = _least([(densities, z, rows)], self._count)
        return z, rows


_Explained = tuple[Tensor, Tensor, Tensor]  # log densities (B,), rows (B, D) and their numbers (B,)


def _least(parts: Sequence[_Explained], count: int) -> _Explained:
    """The `count` rows of least density, in order; ties by number."""
    densities, z, rows = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    by_number = rows.argsort()
    first = by_number[densities[by_number].argsort(stable=True)[:count]]
    return densities[first], z[first], rows[first]
