"""The log joint density of components and rows, for what is told of a fit when it is done."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gmmcli import incomplete
from gmmcli.families.base import ByRow, Family, Parameters
from gmmcli.fitting.kernels.choice import ROUNDING_LIMIT, Reach
from gmmcli.fitting.prepared import PreparedData

CHUNK_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 24}  # rows × components, and rows × columns, that are at hand at a time


def log_joint_in_data_units(data: PreparedData, family: Family, p: Parameters) -> Callable[[Tensor], Tensor]:
    """log p(k, x) of rows of a block's z, (K, B) in nats; a background is one more row, the last.

    p: in the coordinates of the fit. With missing cells log p(k, x_o), of those that are there.
    """
    log_joint, p = _log_joint(data, family, p), p.to(data.device)
    level = None if p.background is None else float(p.background.log())
    factors = data.affine.factor.log().expand(data.dims) if data.incomplete else None

    def of(z: Tensor) -> Tensor:
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
        return joint - offset

    return of


def chunk_rows(data: PreparedData, p: Parameters) -> int:
    """Rows that are worked at a time."""
    numbers = CHUNK_NUMBERS.get(data.device.type, CHUNK_NUMBERS["cuda"])
    return max(512, numbers // max(p.components, data.dims))


def _log_joint(data: PreparedData, family: Family, p: Parameters) -> ByRow:
    """log π_k + log N(z | μ_k, Σ_k), (K, B), of columns (D, B): by one product where its terms do not cancel."""
    eta = family.coefficients(p)  # on the host, where the bounds are
    reach = Reach(data.bound[: 1 + data.dims], family.quad_bound(data.bound[: 1 + data.dims]), data.radius)
    if torch.finfo(torch.float64).eps * reach.largest_terms(eta) > ROUNDING_LIMIT:
        return family.log_joint_by_row(p.to(data.device))
    constants, slopes = eta.linear[:, :1], torch.cat([eta.linear[:, 1:], eta.quad.expand(p.components, -1)], 1)
    constants, slopes = constants.to(data.device), slopes.to(data.device)
    return lambda z: torch.addmm(constants, slopes, torch.cat([z, family.quad(z)]))
