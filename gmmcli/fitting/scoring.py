"""The histogram of the scores of the rows that were fitted, in one reading after the fit."""

from __future__ import annotations

import torch

from gmmcli.families.base import Family, Parameters
from gmmcli.model.prepared_densities import chunk_rows, log_joint_of_rows, log_volumes
from gmmcli.model.reductions import log_sum
from gmmcli.model.scores import ScoreCounter, Scores
from gmmcli.passes.group import Group
from gmmcli.passes.layout import LateBlock, PreparedBlock
from gmmcli.passes.prepared import PreparedData


class ScoreHistogram:
    """Fold: the distribution of log p(x) over the rows, in data units. p: in the coordinates of the fit."""

    def __init__(self, data: PreparedData, family: Family, p: Parameters, centre: float) -> None:
        self._log_joint, self._volumes = log_joint_of_rows(data, family, p), log_volumes(data)
        self._chunk_rows, self._unit = chunk_rows(data, p), data.summary.weight_unit
        self._centre, self._weight = centre, data.summary.weight
        self._counter = ScoreCounter(centre, self._weight)

    def add(self, block: LateBlock | PreparedBlock) -> None:
        """Takes in a block."""
        rows = block.laid_out()
        if not len(rows):
            return
        chunks = (chunk.z for chunk in rows.split(self._chunk_rows))
        scores = torch.cat([log_sum(self._log_joint(z))[0] - self._volumes(z) for z in chunks]).cpu()
        weights = None if rows.weights is None else rows.weights.double().cpu() * self._unit
        self._counter.add(*self._counter.count(scores, weights))

    def merge(self, other: ScoreHistogram) -> None:
        """Takes in the counts of another fold."""
        self._counter.add(*other._counter.counted().mT)

    def result(self, group: Group) -> Scores:
        """The histogram over all processes."""
        total = ScoreCounter(self._centre, self._weight)
        total.add(*group.joined(self._counter.counted()).mT)
        return total.scores()
