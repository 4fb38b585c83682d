"""The objective that a fit maximises, and its M-step: engines know of likelihood, prior and bounds by it alone.

With the statistics T of a pass at θ the expected complete log-likelihood of other parameters is ⟨T, η(θ′)⟩: EM
maximises it in closed form, and by Fisher's identity its gradient at θ is that of the log-likelihood. A prior adds
its log density to both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.families.base import SMALLEST_WEIGHT, Family, Parameters
from gmmcli.fitting.prior import Prior
from gmmcli.fitting.stopping import EM_RATE, hidden_gain
from gmmcli.passes.sums import SufficientStatistics


@dataclass(frozen=True)
class Objective:
    """The mean log-likelihood of a family's mixtures, with log prior / N where there is a prior.

    floor: smallest variance or eigenvalue, in the coordinates of the fit. weight: N, the total row weight of the
    data, over which a prior is spread: on a part of the rows the same part of the prior counts.
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

        It includes log prior / N. Its gradient at the parameters of the pass is that of the objective.
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

    def promised_by_em(self, statistics: SufficientStatistics, p: Parameters, step: Parameters) -> float:
        """Estimate of the remaining gain, nats per row: the gain that an EM step from p promises, over 1 − EM_RATE.

        The promised gain ⟨T, η(M(T)) − η(θ)⟩ is a lower bound of the step's true gain and needs no pass of its own.
        Its error is about the square of the log-likelihood's noise; the result is at least that error. step: the
        parameters after the EM step.
        """
        promised = self.expected(statistics, step) - self.expected(statistics, p)
        return max(hidden_gain(statistics.noise), float(promised)) / (1 - EM_RATE)

    def hold(self, p: Parameters) -> Parameters:
        """The parameters with every learned variance at the floor or above."""
        return self.family.hold(p, self.floor)
