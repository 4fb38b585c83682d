"""What becomes of a component that has collapsed: it begins again elsewhere, is dropped, or the fit is given up.

The likelihood is unbounded where a component falls on few rows. One that has is begun again at a row that the
mixture explains badly, with the mean covariance of the others: rows far from every component are where one is
missing. Which of the worst it is, is drawn, so that an outlier does not draw every component to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.model.prepared_densities import log_joint_of_rows
from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.layout import PreparedBlock
from gmmcli.passes.prepared import PreparedData

MOST_CANDIDATES = 10_000  # rows


def begun_again(
    data: PreparedData, family: Family, p: Parameters, component: int, seed: int, key: str, threads: int
) -> Parameters:
    """The mixture with this component at one of the rows that it explains worst; takes a reading of the data."""
    share = 1 / p.components
    count = max(family.rank_rows(p.dims), math.ceil(share * data.summary.rows / 2))
    z, rows = worst_explained(data, family, p, min(count, MOST_CANDIDATES), threads)
    means = p.means.clone()
    means[component] = z[row_uniforms(seed, key, rows).argmin()]
    weights = p.weights.clone()
    weights[component] = 0
    if float(weights.sum()) <= 0:  # a background has all the rows of the others
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


def worst_explained(
    data: PreparedData, family: Family, p: Parameters, count: int, threads: int
) -> tuple[Tensor, Tensor]:
    """The rows (count, D) of least density, in the coordinates of the fit, and their numbers; ties by number.

    Of a row with missing cells the density of those that are there; where a cell is missing it has the mean of all.
    """
    log_joint = log_joint_of_rows(data, family, replace(p, background=None), exact=True)

    def worst(found: _Explained, block: PreparedBlock) -> _Explained:
        return _least([found, *(explained(part) for part in block.split(1 << 15))], count)

    def explained(block: PreparedBlock) -> _Explained:
        z = block.z[1 : 1 + data.dims].to("cpu", torch.float64)
        densities = log_joint(block.z).logsumexp(0).cpu()
        if block.weights is not None:
            densities = densities.masked_fill(block.weights.to("cpu") <= 0, math.inf)
        return densities, z.mT, block.rows.cpu()

    none = torch.empty(0, dtype=torch.float64)
    empty: _Explained = none, torch.empty(0, data.dims, dtype=torch.float64), none.long()
    found = _least([empty, *data.folded(lambda: empty, worst, threads)], count)
    densities, z, rows = (data.group.joined(part) for part in found)
    _, z, rows = _least([(densities, z, rows)], count)
    return z, rows


_Explained = tuple[Tensor, Tensor, Tensor]  # log densities (B,), rows (B, D) and their numbers (B,)


def _least(parts: Sequence[_Explained], count: int) -> _Explained:
    """The rows of least density of all parts, that first; ties by number."""
    densities, z, rows = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    by_number = rows.argsort()
    first = by_number[densities[by_number].argsort(stable=True)[:count]]
    return densities[first], z[first], rows[first]
