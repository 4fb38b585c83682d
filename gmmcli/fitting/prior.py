"""The conjugate prior of means and covariances, and the mode of the posterior: components do not collapse under it.

    Σ_k ~ inverse-Wishart(ν, Λ)    μ_k | Σ_k ~ N(0, Σ_k / κ)    weights ~ Dirichlet(1, …, 1)

in the coordinates of the fit, whose origin is the mean of the data and where its variance is 1. For families with
one variance, or one a column, the inverse-Wishart is an inverse gamma of each. Where cells are missing, or columns
are collinear, those coordinates are z-scores by column, and Λ has no correlations. A shared covariance has one prior.
It weighs as κ rows at the mean of the data and a scatter of Λ; the Dirichlet is flat, and changes nothing.

Fraley & Raftery, "Bayesian regularization for normal mixture estimation and model-based clustering", Journal of
Classification 24 (2007).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gmmcli.families.base import SMALLEST_WEIGHT, Family, Parameters

SHRINKAGE = 0.01


@dataclass(frozen=True)
class Prior:
    """shrinkage: κ; degrees: ν; variance: that of Λ, which is a multiple of I."""

    shrinkage: float
    degrees: float
    variance: float

    @classmethod
    def default(cls, components: int, dims: int, shrinkage: float = SHRINKAGE) -> Prior:
        """Fraley and Raftery's: κ = 0.01, ν = D + 2, and Λ the variance of the data over K^(2/D)."""
        return cls(shrinkage, dims + 2.0, components ** (-2 / dims))

    def maximise(
        self,
        family: Family,
        counts: Tensor,  # (K,)
        sums: Tensor,  # (K, D)
        quads: Tensor,  # (J, Q)
        previous: Parameters,
        floor: float,
        share: float,
    ) -> Parameters:
        """The mode of the posterior given the sufficient statistics; see Family.m_step.

        μ_k = Σ r x / (n_k + κ), and Σ_k = (Σ r quad(x − μ) + κ quad(μ) + Λ) / (n_k + 1 + c), with c and Λ as
        the family's `inverse_wishart` has them. share: the power of the prior, for statistics of a part of the rows.
        """
        rows = counts + share * self.shrinkage
        means = sums / rows[:, None]
        weights = counts / counts.sum().clamp_min(SMALLEST_WEIGHT)
        if not family.learned:
            return Parameters(weights, means, previous.scale)
        about_origin, heights = rows[:, None] * family.quad(means.mT).mT, counts + share
        if family.shared:
            about_origin, heights = about_origin.sum(0, keepdim=True), heights.sum()[None]
        own, spread = family.inverse_wishart(self.degrees, self.variance, previous.dims)
        scatter, heights = quads + share * spread - about_origin, heights + share * own
        return Parameters(weights, means, family.scale_from_scatter(scatter, heights, previous.dims, floor, previous))

    def log_density(self, family: Family, p: Parameters) -> Tensor:
        """Of the parameters, nats, up to a constant and differentiable.

        −½ Σ_k (log|Σ_k| + κ μ_kᵀ Σ_k⁻¹ μ_k) − ½ Σ_j (c log|Σ_j| + tr(Σ_j⁻¹ Λ))
        """
        pulled = -0.5 * self.shrinkage * (family.precision_times(p.scale, p.means) * p.means).sum()
        if not family.learned:
            return pulled
        own, spread = family.inverse_wishart(self.degrees, self.variance, p.dims)
        heights = p.components / len(p.scale) + own
        traces = family.quad_coefficients(p.scale, p.dims) @ spread
        return pulled - 0.5 * heights * family.log_det(p.scale, p.dims).sum() + traces.sum()
