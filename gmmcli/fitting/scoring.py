"""The scores of the rows that were fitted, counted in one reading after the fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmmcli import incomplete
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.prepared import PreparedBlock, PreparedData
from gmmcli.fitting.workers import map_blocks
from gmmcli.scores import ScoreCounter, Scores

CHUNK_ROWS = {"cpu": 1 << 12, "cuda": 1 << 18}  # rows × columns of differences that are at hand at a time


def score_rows(data: PreparedData, family: Family, p: Parameters, centre: float, threads: int) -> Scores:
    """The distribution of log p(x) over the rows, in data units; p: in the coordinates of the fit."""
    counter = ScoreCounter(centre)
    p = p.to(data.device)
    log_joint = family.log_joint_by_row(p)
    level = None if p.background is None else float(p.background.log())
    factors = data.affine.factor.log().expand(data.dims) if data.incomplete else None
    unit = data.summary.weight_unit

    def densities(z: Tensor) -> Tensor:
        """Of rows of a block's z, nats."""
        columns = z[1 : 1 + data.dims].double()
        if factors is None:
            joint, offset, box = log_joint(columns), data.affine.log_det(), data.log_box
        else:
            there = z[1 + data.dims :] > 0
            joint = incomplete.log_joint(family, p, torch.where(there, columns, math.nan).mT)
            offset, box = (t.to(z.device) @ there.double() for t in (factors, data.log_ranges))
        if level is not None:
            background = joint.new_full((joint.shape[1],), level) - box
            joint = torch.cat([joint, background[None]])
        return joint.logsumexp(0) - offset

    def counted(block: PreparedBlock) -> tuple[Tensor, Tensor]:
        scores = torch.cat([densities(part.z) for part in block.cut(rows)]).cpu()
        weights = None if block.weights is None else block.weights.double().cpu() * unit
        return counter.count(scores, weights)

    rows = CHUNK_ROWS.get(data.device.type, CHUNK_ROWS["cuda"])
    for part in map_blocks(counted, data.blocks, threads):
        counter.add(*part)
    return counter.scores()
