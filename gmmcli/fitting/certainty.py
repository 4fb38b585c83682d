"""Certainty of the assignment of rows to components, and which components overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.model.prepared_densities import chunk_rows, log_joint_of_rows
from gmmcli.passes.layout import PreparedBlock
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import Collected, Task, read

SURE = 0.9  # least probability of a sure assignment
ROWS = 1 << 17  # size of the sample
OVERLAP = 0.05  # least share of a component's rows that is reported
PAIRS = 20  # most pairs of components that are reported


@dataclass(frozen=True)
class Certainty:
    """Shares of the rows by weight. Components are as in the model; a background comes after the last.

    rows: number of rows in the sample. sure: share of sure assignments. assigned: (K,) share of the rows that are
    assigned to each component. sure_of: (K,) share of these that is sure; 0 if there are none. overlaps: (i, j,
    share) with share = Σ_n r_ni r_nj / Σ_n r_ni, the part of i's rows that j claims, largest first.
    """

    rows: int
    sure: float
    assigned: Sequence[float]
    sure_of: Sequence[float]
    overlaps: Sequence[tuple[int, int, float]]


def certainty(data: PreparedData, family: Family, p: Parameters, seed: int) -> Task[Certainty]:
    """Certainty of the rows, or of a sample of about ROWS if they are more. p: in the coordinates of the fit."""
    data = yield from data.sample(seed, min(1.0, min(ROWS, data.largest_sample) / data.summary.rows))
    log_joint, rows = log_joint_of_rows(data, family, p), chunk_rows(data, p)
    many = p.components + (p.background is not None)

    def counted(block: PreparedBlock) -> Tensor:
        """Σ w r rᵀ, the weight of the rows assigned, and of the sure ones, (K, K + 2)."""
        total = torch.zeros(many, many + 2, dtype=torch.float64)
        for part in block.split(rows):
            r = log_joint(part.z).softmax(0).cpu()
            w = r.new_ones(r.shape[1]) if part.weights is None else part.weights.double().cpu()
            highest, component = r.max(0)
            total[:, :many] += (r * w) @ r.mT
            total[:, many] += w.new_zeros(many).index_add_(0, component, w)
            total[:, many + 1] += w.new_zeros(many).index_add_(0, component, w * (highest >= SURE))
        return total

    counts = yield from read(data.reading(lambda: Collected(counted)))
    total = torch.stack(counts).sum(0)
    shared, assigned, sure = total[:, :many], total[:, many], total[:, many + 1]
    weight = assigned.sum()
    claimed = shared / shared.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    pairs = (claimed.fill_diagonal_(0) >= OVERLAP).nonzero().tolist()
    overlaps = sorted(((i, j, float(claimed[i, j])) for i, j in pairs), key=lambda pair: (-pair[2], pair))
    return Certainty(
        data.summary.rows,
        float(sure.sum() / weight),
        (assigned / weight).tolist(),
        torch.where(assigned > 0, sure / assigned, 0).tolist(),
        overlaps[:PAIRS],
    )
