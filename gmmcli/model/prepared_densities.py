"""Densities of prepared rows, in the coordinates of a fit: for its score histogram, its certainty and its worst rows.

Rows come as a block's z: [1, z] and, where cells are missing, a mask of those that are observed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.model.densities import Background, Densities, unreduced
from gmmcli.passes.kernels.choice import ROUNDING_LIMIT, Reach
from gmmcli.passes.prepared import PreparedData

CHUNK_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 24}  # rows × components, and rows × columns, that are at hand at a time


def log_joint_of_rows(
    data: PreparedData, family: Family, p: Parameters, *, exact: bool = False
) -> Callable[[Tensor], Tensor]:
    """The function from rows of a block's z to log p(k, z), (K, B) in nats; a background is one more row, the last.

    z and p: in the coordinates of the fit. With missing cells log p(k, z_o), of those that are observed. exact:
    evaluate from differences to the means even where one product for all components would do.
    """
    product = None if exact or data.incomplete else _product(data, family, p)
    p = p.to(data.device)
    log_widths = data.log_ranges.to(data.device)
    shift, std = torch.zeros_like(log_widths), torch.ones_like(log_widths)
    background = None
    if p.background is not None:
        infinite = torch.full_like(log_widths, math.inf)[:, None]  # all rows of a fit lie in the box
        background = Background(-infinite, infinite, log_widths[:, None], p.background.log())
    densities = Densities(family, p, shift, std, background)

    def log_joint(z: Tensor) -> Tensor:
        columns = z[1 : 1 + data.dims].double()
        if product is not None:
            return product(columns)
        if data.incomplete:
            columns = torch.where(z[1 + data.dims :] > 0, columns, math.nan)
        return densities.reduced(columns, unreduced, marginal=data.incomplete)[0]

    return log_joint


def log_volumes(data: PreparedData) -> Callable[[Tensor], Tensor | float]:
    """The function from rows of a block's z to log p(z) − log p(x), x in data units, of each row, nats."""
    if not data.incomplete:
        volume = data.affine.log_det()
        return lambda z: volume
    factors = data.affine.factor.log().expand(data.dims).to(data.device)
    return lambda z: factors @ (z[1 + data.dims :] > 0).double()


def chunk_rows(data: PreparedData, p: Parameters) -> int:
    """Rows of z that are evaluated at a time: a matter of data and model, as its last bits are."""
    numbers = CHUNK_NUMBERS.get(data.device.type, CHUNK_NUMBERS["cuda"])
    return max(512, numbers // max(p.components, data.dims))


def _product(data: PreparedData, family: Family, p: Parameters) -> Callable[[Tensor], Tensor] | None:
    """log p(k, z) of complete rows (D, B) by one product for all components; None where its terms may cancel."""
    eta = family.coefficients(p, smallest=0.0)  # on the host, where the bounds are; −∞ is over any
    reach = Reach(data.bound[: 1 + data.dims], family.quad_bound(data.bound[: 1 + data.dims]), data.radius)
    if torch.finfo(torch.float64).eps * reach.largest_terms(eta) > ROUNDING_LIMIT:
        return None
    constants, slopes = eta.linear[:, :1], torch.cat([eta.linear[:, 1:], eta.quad.expand(p.components, -1)], 1)
    if p.background is not None:
        level = p.background.log() - data.log_box
        constants = torch.cat([constants, level.reshape(1, 1)])
        slopes = torch.cat([slopes, slopes.new_zeros(1, slopes.shape[1])])
    constants, slopes = constants.to(data.device), slopes.to(data.device)
    return lambda z: torch.addmm(constants, slopes, torch.cat([z, family.quad(z)]))
