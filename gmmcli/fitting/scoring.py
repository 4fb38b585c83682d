"""The scores of the rows that were fitted, counted in one reading after the fit."""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.joint import chunk_rows, log_joint_of_rows, log_volumes
from gmmcli.fitting.prepared import PreparedBlock, PreparedData
from gmmcli.scores import ScoreCounter, Scores


def score_rows(data: PreparedData, family: Family, p: Parameters, centre: float, threads: int) -> Scores:
    """The distribution of log p(x) over the rows, in data units; p: in the coordinates of the fit."""
    counter, total = (ScoreCounter(centre, data.summary.weight) for _ in range(2))
    log_joint, volumes, rows = log_joint_of_rows(data, family, p), log_volumes(data), chunk_rows(data, p)
    unit = data.summary.weight_unit

    def counted(block: PreparedBlock) -> tuple[Tensor, Tensor]:
        scores = torch.cat([log_joint(part.z).logsumexp(0) - volumes(part.z) for part in block.cut(rows)]).cpu()
        weights = None if block.weights is None else block.weights.double().cpu() * unit
        return counter.count(scores, weights)

    for part in data.each(counted, threads):
        counter.add(*part)
    total.add(*data.group.joined(counter.counted()).mT)
    return total.scores()
