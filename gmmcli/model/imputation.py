"""Missing cells (NaN) filled from the observed cells of the row, under a mixture.

Given its component and its observed cells x_o, a row's missing cells are normal about μ_m + Σ_mo Σ_oo⁻¹ (x_o − μ_o)
with the covariance Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om; the components are weighed by p(k | x_o). Rows that lack the same columns
are filled together, by operations on each number alone: no row depends on those beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.families.linear import regression
from gmmcli.passes.missing import patterns

Draws = tuple[Tensor, Tensor]  # of each row, a uniform number (B,) and a normal one for each column (B, D)


def filled(
    family: Family, p: Parameters, z: Tensor, shares: Tensor, box: Tensor | None, draws: Draws | None
) -> Tensor:
    """Rows z (B, D) with missing cells set to the conditional mean Σ_k p(k | z_o) E[z_m | z_o, k].

    shares: p(k | z_o), (K, B), or (K+1, B) with a background. box: (2, D) least and greatest values of a background,
    under which missing cells are uniform. draws: if given, the missing cells of a row are drawn together from their
    conditional distribution instead.
    """
    covariances = family.covariances(p.scale, p.dims).expand(p.components, -1, -1)
    complete = z.clone()
    for rows, observed, missing in patterns(z.isnan()):
        if not len(missing):
            continue
        slope, rest = regression(covariances, observed, missing)
        means = _conditional_means(p.means, slope, z[rows][:, observed].mT, observed, missing)
        if box is not None:
            middle = box[:, missing].mean(0)
            means = torch.cat([means, middle[:, None].expand(1, -1, len(rows))])
        if draws is None:
            values = _averaged(means, shares[:, rows])
        else:
            own = draws[0][rows], draws[1][rows][:, missing]
            values = _drawn(means, rest, shares[:, rows], None if box is None else box[:, missing], own)
        complete[rows[:, None], missing] = values
    return complete


def _conditional_means(means: Tensor, slope: Tensor, x: Tensor, observed: Tensor, missing: Tensor) -> Tensor:
    """E[x_m | x_o, k], (K, M, B), of means (K, D), slopes (K, M, D') and the observed cells x (D', B).

    observed, missing: indices of the columns, int64.
    """
    centred = x - means[:, observed, None]
    expected = means[:, missing, None].expand(-1, -1, x.shape[1])
    for d in range(len(observed)):
        expected = torch.addcmul(expected, slope[:, :, d, None], centred[:, d, None])
    return expected


def _averaged(means: Tensor, shares: Tensor) -> Tensor:
    """Σ_k p(k | x_o) E[x_m | x_o, k], (B, M), of means (K, M, B) and shares (K, B)."""
    total = torch.zeros_like(means[0])
    for share, mean in zip(shares, means, strict=True):
        total = torch.addcmul(total, share, mean)
    return total.mT


def _drawn(means: Tensor, covariances: Tensor, shares: Tensor, box: Tensor | None, draws: Draws) -> Tensor:
    """Cells (B, M) drawn from p(x_m | x_o): a component for the row, then its cells together.

    means: (K, M, B), or (K+1, M, B) with a background. covariances: (K, M, M). shares: (K, B) or (K+1, B).
    box: (2, M).
    """
    uniforms, normals = draws
    cumulative = shares.cumsum(0)
    component = (cumulative < uniforms * cumulative[-1]).sum(0).clamp_max(len(shares) - 1)
    factors = torch.linalg.cholesky(covariances)[component.clamp_max(len(covariances) - 1)]  # (B, M, M)
    values = means[component, :, torch.arange(len(component))]
    for m in range(means.shape[1]):
        values = torch.addcmul(values, factors[:, :, m], normals[:, m : m + 1])
    if box is None:
        return values
    anywhere = box[0] + (box[1] - box[0]) * torch.special.ndtr(normals)
    return torch.where((component == len(covariances))[:, None], anywhere, values)
