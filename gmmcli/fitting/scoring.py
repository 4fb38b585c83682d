"""The scores of the rows that were fitted, counted in one reading after the fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmmcli import incomplete
from gmmcli.families.base import ByRow, Family, Parameters
from gmmcli.fitting.kernels.choice import ROUNDING_LIMIT, Reach
from gmmcli.fitting.prepared import PreparedBlock, PreparedData
from gmmcli.fitting.workers import map_blocks
from gmmcli.scores import ScoreCounter, Scores

CHUNK_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 24}  # rows × components, and rows × columns, that are at hand at a time


def score_rows(data: PreparedData, family: Family, p: Parameters, centre: float, threads: int) -> Scores:
    """The distribution of log p(x) over the rows, in data units; p: in the coordinates of the fit."""
    counter = ScoreCounter(centre)
    log_joint, p = _log_joint(data, family, p), p.to(data.device)
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

    numbers = CHUNK_NUMBERS.get(data.device.type, CHUNK_NUMBERS["cuda"])
    rows = max(512, numbers // max(p.components, data.dims))
    for part in map_blocks(counted, data.blocks, threads):
        counter.add(*part)
    return counter.scores()


def _log_joint(data: PreparedData, family: Family, p: Parameters) -> ByRow:
    """log π_k + log N(z | μ_k, Σ_k), (K, B), of columns (D, B): by one product where its terms do not cancel."""
    eta = family.coefficients(p)  # on the host, where the bounds are
    reach = Reach(data.bound[: 1 + data.dims], family.quad_bound(data.bound[: 1 + data.dims]), data.radius)
    if torch.finfo(torch.float64).eps * reach.largest_terms(eta) > ROUNDING_LIMIT:
        return family.log_joint_by_row(p.to(data.device))
    constants, slopes = eta.linear[:, :1], torch.cat([eta.linear[:, 1:], eta.quad.expand(p.components, -1)], 1)
    constants, slopes = constants.to(data.device), slopes.to(data.device)
    return lambda z: torch.addmm(constants, slopes, torch.cat([z, family.quad(z)]))
