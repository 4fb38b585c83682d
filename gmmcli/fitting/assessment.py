"""Assessment of a fitted mixture by further readings of its rows.

- `certainty`: how surely rows are assigned to components, and which components overlap.
- `ScoreHistogram`: the fold that counts the rows by log p(x).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.model.densities import log_sum
from gmmcli.model.scores import Scores, added_up, chunk_rows, count_scores, log_joint_of_rows, log_volumes
from gmmcli.passes.execution import Group
from gmmcli.passes.layout import LateBlock, PreparedBlock
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


class ScoreHistogram:
    """Fold: the distribution of log p(x) over the rows, in data units. p: in the coordinates of the fit."""

    def __init__(self, data: PreparedData, family: Family, p: Parameters, centre: float) -> None:
        self._log_joint, self._volumes = log_joint_of_rows(data, family, p), log_volumes(data)
        self._chunk_rows, self._unit = chunk_rows(data, p), data.summary.weight_unit
        self._centre, self._weight = centre, data.summary.weight
        self._counts = torch.zeros(0, 2, dtype=torch.float64)

    def add(self, block: LateBlock | PreparedBlock) -> None:
        """Takes in a block."""
        rows = block.laid_out()
        if not len(rows):
            return
        chunks = (chunk.z for chunk in rows.split(self._chunk_rows))
        scores = torch.cat([log_sum(self._log_joint(z))[0] - self._volumes(z) for z in chunks]).cpu()
        weights = None if rows.weights is None else rows.weights.double().cpu() * self._unit
        counts = count_scores(scores, weights, self._centre, self._weight)
        self._counts = added_up(torch.cat([self._counts, counts]))

    def merge(self, other: ScoreHistogram) -> None:
        """Takes in the counts of another fold."""
        self._counts = added_up(torch.cat([self._counts, other._counts]))

    def result(self, group: Group) -> Scores:
        """The histogram over all processes."""
        total = added_up(group.joined(self._counts)).tolist()
        return Scores(self._centre, {int(number): count for number, count in total})
