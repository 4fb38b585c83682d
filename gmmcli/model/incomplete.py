"""Rows that lack cells, under a mixture: densities of the cells that are there, and what is expected of the others.

Given its component and its observed cells x_o, a row's missing cells are normal about μ_m + Σ_mo Σ_oo⁻¹ (x_o − μ_o)
with the covariance Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om; the components are weighed by p(k | x_o). Rows are worked by pattern,
those that lack the same columns together, and by operations on each number alone: no row depends on those beside it.
NaN is a cell that is missing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.families.dense import regression
from gmmcli.passes.patterns import patterns


def log_joint(
    family: Family,
    p: Parameters,
    z: Tensor,  # (B, D)
) -> Tensor:
    """log π_k + log N(z_o | μ_k, Σ_k) of the cells that are there, (K, B) in nats; log π_k of a row without any."""
    found = z.new_empty(p.components, len(z))
    for places, columns, lacking in patterns(z.isnan()):
        if len(columns):
            kind, own = family.marginal(p, columns) if len(lacking) else (family, p)
            part = kind.log_joint_by_row(own)(z[places][:, columns].mT.contiguous())
        else:
            part = p.weights.log()[:, None].expand(-1, len(places))
        found = found.index_copy(1, places, part)
    return found


def filled(
    family: Family,
    p: Parameters,
    z: Tensor,  # (B, D)
    shares: Tensor,  # (K, B), or (K+1, B) with a background
    box: Tensor | None,  # (2, D)
    draws: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The rows with each missing cell at its conditional mean Σ_k p(k | z_o) E[z_m | z_o, k], (B, D).

    shares: p(k | z_o); box: least and greatest values of a background, under which a missing cell lies anywhere
    between. draws: uniforms (B,) and normals (B, D), with which the missing cells of a row are drawn, together, from
    their conditional distribution instead.
    """
    covariances = family.covariances(p.scale, p.dims).expand(p.components, -1, -1)
    found = z.clone()
    for places, there, lacking in patterns(z.isnan()):
        if not len(lacking):
            continue
        slope, rest = regression(covariances, there, lacking)
        centred = z[places][:, there].mT - p.means[:, there, None]  # (K, D', B')
        means = p.means[:, lacking, None].expand(-1, -1, len(places))  # (K, M, B')
        for d in range(len(there)):
            means = torch.addcmul(means, slope[:, :, d, None], centred[:, d, None])
        weights = shares[:, places]
        if box is not None:
            middle = box[:, lacking].mean(0)
            means = torch.cat([means, middle[:, None].expand(1, -1, len(places))])
        if draws is None:
            values = torch.zeros_like(means[0])
            for weight, mean in zip(weights, means, strict=True):
                values = torch.addcmul(values, weight, mean)
            values = values.mT
        else:
            uniforms, normals = draws[0][places], draws[1][places][:, lacking]
            cumulative = weights.cumsum(0)
            component = (cumulative < uniforms * cumulative[-1]).sum(0).clamp_max(len(weights) - 1)
            factors = torch.linalg.cholesky(rest)
            own = factors[component.clamp_max(p.components - 1)]  # (B', M, M)
            values = means[component, :, torch.arange(len(places))]
            for m in range(len(lacking)):
                values = torch.addcmul(values, own[:, :, m], normals[:, m : m + 1])
            if box is not None:
                anywhere = box[0, lacking] + (box[1] - box[0])[lacking] * torch.special.ndtr(normals)
                values = torch.where((component == p.components)[:, None], anywhere, values)
        found[places[:, None], lacking] = values
    return found
