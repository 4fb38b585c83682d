"""The conjugate prior of means and covariances, and the mode of the posterior: components do not collapse under it.

    Σ_k ~ inverse-Wishart(ν, Λ)    μ_k | Σ_k ~ N(0, Σ_k / κ)    weights ~ Dirichlet(1, …, 1)

in the coordinates of the fit, whose origin is the mean of the data and where its variance is 1. For families with
free variances the inverse-Wishart is an inverse gamma of each. Where cells are missing, or columns are collinear,
those coordinates are z-scores by column, and Λ has no correlations. A shared covariance has one prior. The prior
weighs as κ rows at the mean of the data and a scatter of Λ. The Dirichlet is flat and changes nothing.

Fraley & Raftery, "Bayesian regularization for normal mixture estimation and model-based clustering", Journal of
Classification 24 (2007).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gmmcli.families.base import SMALLEST_WEIGHT, Family, Parameters
from gmmcli.passes.sums import SufficientStatistics

SHRINKAGE = 0.01


@dataclass(frozen=True)
class Prior:
    """A prior with shrinkage κ, degrees of freedom ν and Λ = variance · I."""

    shrinkage: float
    degrees: float
    variance: float

    @classmethod
    def default(cls, components: int, dims: int, shrinkage: float = SHRINKAGE) -> Prior:
        """Fraley and Raftery's prior: κ = 0.01, ν = D + 2, and Λ the variance of the data over K^(2/D)."""
        return cls(shrinkage, dims + 2.0, components ** (-2 / dims))

    def maximise(
        self, family: Family, statistics: SufficientStatistics, previous: Parameters, floor: float, share: float
    ) -> Parameters:
        """The mode of the posterior given the sufficient statistics; see Family.m_step.

        μ_k = Σ r x / (n_k + κ), and Σ_k = (Σ r quad(x − μ) + κ quad(μ) + Λ) / (n_k + 1 + c), with c and Λ from the
        family's `inverse_wishart`. share: the power of the prior, for statistics of a part of the rows.
        """
        counts = statistics.counts
        rows = counts + share * self.shrinkage
        means = statistics.sums / rows[:, None]
        weights = counts / counts.sum().clamp_min(SMALLEST_WEIGHT)
        if not family.learned:
            return Parameters(weights, means, previous.scale)
        own, spread = family.inverse_wishart(self.degrees, self.variance, previous.dims)
        scatter = family.scatter(statistics.quads + share * spread, rows, means)
        heights = (counts + share).sum()[None] if family.shared else counts + share
        scale = family.scale_from_scatter(scatter, heights + share * own, previous.dims, floor, previous)
        return Parameters(weights, means, scale)

    def log_density(self, family: Family, p: Parameters) -> Tensor:
        """Log density of the parameters, nats, up to a constant and differentiable.

        −½ Σ_k (log|Σ_k| + κ μ_kᵀ Σ_k⁻¹ μ_k) − ½ Σ_j (c log|Σ_j| + tr(Σ_j⁻¹ Λ))
        """
        pulled = -0.5 * self.shrinkage * (family.precision_times(p.scale, p.means) * p.means).sum()
        if not family.learned:
            return pulled
        own, spread = family.inverse_wishart(self.degrees, self.variance, p.dims)
        heights = p.components / len(p.scale) + own
        traces = family.quad_coefficients(p.scale, p.dims) @ spread
        return pulled - 0.5 * heights * family.log_det(p.scale, p.dims).sum() + traces.sum()
