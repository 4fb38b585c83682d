"""The log joint density of components and rows, for what is told of a fit when it is done."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gmmcli.families.base import ByRow, Family, Parameters
from gmmcli.model import incomplete
from gmmcli.passes.kernels.choice import ROUNDING_LIMIT, Reach
from gmmcli.passes.prepared import PreparedData

CHUNK_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 24}  # rows × components, and rows × columns, that are at hand at a time


def log_joint_of_rows(data: PreparedData, family: Family, p: Parameters) -> Callable[[Tensor], Tensor]:
    """log p(k, z) of rows of a block's z, (K, B) in nats; a background is one more row, the last.

    z and p: in the coordinates of the fit. With missing cells log p(k, z_o), of those that are there.
    """
    log_joint, p = _log_joint(data, family, p), p.to(data.device)
    level = None if p.background is None else float(p.background.log())
    log_box = data.log_box

    def of(z: Tensor) -> Tensor:
        columns = z[1 : 1 + data.dims].double()
        there = z[1 + data.dims :] > 0 if data.incomplete else None
        if there is None:
            joint = log_joint(columns)
        else:
            joint = incomplete.log_joint(family, p, torch.where(there, columns, math.nan).mT)
        if level is None:
            return joint
        box = log_box if there is None else data.log_ranges.to(z.device) @ there.double()
        return torch.cat([joint, (joint.new_full((joint.shape[1],), level) - box)[None]])

    return of


def log_volumes(data: PreparedData) -> Callable[[Tensor], Tensor | float]:
    """How much more log p(z) is than log p(x) in data units, of each of the rows of a block's z, nats."""
    if not data.incomplete:
        volume = data.affine.log_det()
        return lambda z: volume
    factors = data.affine.factor.log().expand(data.dims).to(data.device)
    return lambda z: factors @ (z[1 + data.dims :] > 0).double()


def chunk_rows(data: PreparedData, p: Parameters) -> int:
    """Rows that are worked at a time."""
    numbers = CHUNK_NUMBERS.get(data.device.type, CHUNK_NUMBERS["cuda"])
    return max(512, numbers // max(p.components, data.dims))


def _log_joint(data: PreparedData, family: Family, p: Parameters) -> ByRow:
    """log π_k + log N(z | μ_k, Σ_k), (K, B), of columns (D, B): by one product where its terms do not cancel."""
    eta = family.coefficients(p, smallest=0.0)  # on the host, where the bounds are; −∞ is over any
    reach = Reach(data.bound[: 1 + data.dims], family.quad_bound(data.bound[: 1 + data.dims]), data.radius)
    if torch.finfo(torch.float64).eps * reach.largest_terms(eta) > ROUNDING_LIMIT:
        return family.log_joint_by_row(p.to(data.device))
    constants, slopes = eta.linear[:, :1], torch.cat([eta.linear[:, 1:], eta.quad.expand(p.components, -1)], 1)
    # One product for each part of a block. Data and model fix the parts: memory, threads and processes do not show.
    constants, slopes = constants.to(data.device), slopes.to(data.device)
    return lambda z: torch.addmm(constants, slopes, torch.cat([z, family.quad(z)]))
