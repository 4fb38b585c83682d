"""The objective that a fit maximises, and its M-step: likelihood, prior and floor. Engines see them through it only.

With the statistics T of a pass at θ the expected complete log-likelihood of other parameters is ⟨T, η(θ′)⟩: EM
maximises it in closed form, and by Fisher's identity its gradient at θ equals the log-likelihood's. A prior adds its
log density to both.

`Prior` is the conjugate prior of means and covariances. Under it components do not collapse:

    Σ_k ~ inverse-Wishart(ν, Λ)    μ_k | Σ_k ~ N(0, Σ_k / κ)    weights ~ Dirichlet(1, …, 1)

in the coordinates of the fit, whose origin is the mean of the data and where its variance is 1. For families with
free variances the inverse-Wishart is an inverse gamma of each. Where cells are missing, or columns are collinear,
those coordinates are z-scores by column, and Λ has no correlations. A shared covariance has one prior. The prior
weighs as κ rows at the mean of the data and a scatter of Λ. The Dirichlet is flat and changes nothing.

Fraley & Raftery, "Bayesian regularization for normal mixture estimation and model-based clustering", Journal of
Classification 24 (2007).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.families.base import SMALLEST_WEIGHT, Family, Parameters, Unconstrained
from gmmcli.fitting.stopping import EM_RATE, hidden_gain
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


@dataclass(frozen=True)
class Objective:
    """The mean log-likelihood of a family's mixtures, plus log prior / N if there is a prior.

    floor: smallest variance or eigenvalue, in the coordinates of the fit. weight: N, the total row weight of the
    data. A pass over a part of the rows counts the same part of the prior.
    """

    family: Family
    floor: float
    prior: Prior | None = None
    weight: float = 1.0

    def value(self, statistics: SufficientStatistics, p: Parameters) -> float:
        """The objective at the parameters p of a pass, nats per row."""
        if self.prior is None:
            return statistics.mean_log_likelihood
        return statistics.mean_log_likelihood + float(self.prior.log_density(self.family, p)) / self.weight

    def expected(self, statistics: SufficientStatistics, p: Parameters) -> Tensor:
        """⟨T, η(θ)⟩ / N in nats per row, differentiable in θ: Σ_nk r_nk log π_k N(x_n | μ_k, Σ_k) / N, r held fixed.

        It includes log prior / N. At the parameters of the pass its gradient equals the objective's.
        """
        eta = self.family.coefficients(p)
        linear = torch.cat([statistics.counts[:, None], statistics.sums], 1)
        expected = ((eta.linear * linear).sum() + (eta.quad * statistics.quads).sum()) / statistics.weight
        if p.background is not None and statistics.background is not None:
            share = statistics.background / statistics.weight
            expected = expected + share * p.background.clamp_min(SMALLEST_WEIGHT).log()
        return expected if self.prior is None else expected + self.prior.log_density(self.family, p) / self.weight

    def maximise(self, statistics: SufficientStatistics, previous: Parameters) -> Parameters:
        """The M-step: the maximiser of `expected` given the statistics."""
        if self.prior is None:
            p = self.family.m_step(statistics.counts, statistics.sums, statistics.quads, previous, self.floor)
        else:
            share = statistics.weight / self.weight
            p = self.prior.maximise(self.family, statistics, previous, self.floor, share)
        if statistics.background is None:
            return p
        return p.beside(p.weights.new_tensor(statistics.background / statistics.weight))

    def promised_by_em(
        self, statistics: SufficientStatistics, p: Parameters, step: Parameters | None = None
    ) -> float:
        """Estimate of the remaining gain, nats per row: the gain that an EM step from p promises, over 1 − EM_RATE.

        The promised gain ⟨T, η(M(T)) − η(θ)⟩ is a lower bound of the step's true gain and needs no pass of its own.
        Its error is about the square of the log-likelihood's noise; the result is at least that error. step: the
        parameters after the EM step, if they are known.
        """
        step = self.maximise(statistics, p) if step is None else step
        promised = self.expected(statistics, step) - self.expected(statistics, p)
        return max(hidden_gain(statistics.noise), float(promised)) / (1 - EM_RATE)

    def hold(self, p: Parameters) -> Parameters:
        """The parameters with every learned variance at the floor or above."""
        return self.family.hold(p, self.floor)

    def free_vector(self, p: Parameters) -> Tensor:
        """Parameters as a free vector (F,): log π less its mean, μ, and the raw scale if it is learned.

        A background has one more logit. Any vector is a mixture; see `parameters`.
        """
        u = self.family.unconstrain(p)
        raw = [u.raw.flatten()] if self.family.learned else []
        return torch.cat([u.logits - u.logits.mean(), u.means.flatten(), *raw])

    def parameters(self, vector: Tensor, like: Parameters) -> Parameters:
        """The parameters at a free vector, with the floor held.

        like: parameters of the same shapes, and with the scale if it is not learned.
        """
        return self.hold(self._constrain(vector, like))

    def gradient(self, vector: Tensor, like: Parameters, statistics: SufficientStatistics) -> Tensor:
        """∂ objective / ∂ vector, (F,), by Fisher's identity from the statistics of a pass there."""
        with torch.enable_grad():
            free = vector.detach().requires_grad_()
            value = self.expected(statistics, self._constrain(free, like))
            (gradient,) = torch.autograd.grad(value, free)
        return gradient

    def _constrain(self, vector: Tensor, like: Parameters) -> Parameters:
        k, d = like.means.shape
        heads = k if like.background is None else k + 1
        logits, means, raw = vector.split([heads, k * d, len(vector) - heads - k * d])
        if not self.family.learned:
            raw = self.family.to_raw(like.scale, d)
        p = self.family.constrain(Unconstrained(logits, means.reshape(k, d), raw))
        return p if self.family.learned else replace(p, scale=like.scale)
