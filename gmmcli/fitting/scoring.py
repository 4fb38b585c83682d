"""The scores of the rows that were fitted, counted in one reading after the fit."""

from __future__ import annotations

import torch

from gmmcli.families.base import Family, Parameters
from gmmcli.model.prepared_densities import chunk_rows, log_joint_of_rows, log_volumes
from gmmcli.model.reductions import log_sum
from gmmcli.model.scores import ScoreCounter, Scores
from gmmcli.passes.layout import PreparedBlock
from gmmcli.passes.prepared import PreparedData


def score_rows(data: PreparedData, family: Family, p: Parameters, centre: float, threads: int) -> Scores:
    """The distribution of log p(x) over the rows, in data units; p: in the coordinates of the fit."""
    log_joint, volumes, rows = log_joint_of_rows(data, family, p), log_volumes(data), chunk_rows(data, p)
    unit = data.summary.weight_unit

    def new() -> ScoreCounter:
        return ScoreCounter(centre, data.summary.weight)

    def count(counter: ScoreCounter, block: PreparedBlock) -> ScoreCounter:
        scores = torch.cat([log_sum(log_joint(part.z))[0] - volumes(part.z) for part in block.split(rows)]).cpu()
        weights = None if block.weights is None else block.weights.double().cpu() * unit
        counter.add(*counter.count(scores, weights))
        return counter

    own, total = new(), new()
    for counter in data.folded(new, count, threads):
        own.add(*counter.counted().mT)
    total.add(*data.group.joined(own.counted()).mT)
    return total.scores()
