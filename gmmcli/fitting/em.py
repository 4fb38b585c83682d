"""Expectation-maximisation: responsibilities in log space, then the closed-form maximiser.

Dempster, Laird & Rubin, "Maximum likelihood from incomplete data via the EM algorithm", JRSS B 39 (1977). The
log-likelihood never falls but for rounding; a floor that binds keeps that, being part of the maximisation.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.engine import Engine, Request, State
from gmmcli.fitting.statistics import SufficientStatistics
from gmmcli.fitting.stopping import remaining_gain


@dataclass(frozen=True)
class EMState(State):
    """upcoming: the parameters of the next pass; recent: the last four log-likelihoods; noise: of the last."""

    upcoming: Parameters | None = None
    recent: tuple[float, ...] = ()
    noise: float = 0.0


@dataclass(frozen=True)
class EM(Engine):
    """Plain EM for any family.

    floor: smallest variance or eigenvalue, in the coordinates of the fit.
    """

    family: Family
    floor: float

    def start(self, parameters: Parameters) -> EMState:
        """Begins at these parameters, with the floor held."""
        parameters = self.family.hold(parameters, self.floor)
        return EMState(parameters, upcoming=parameters)

    def step(self, state: State) -> Generator[Request, SufficientStatistics, State]:
        """Evaluates the upcoming parameters, one pass, and finds those after them."""
        assert isinstance(state, EMState)
        here = state.upcoming
        assert here is not None
        statistics = yield Request(here)
        recent = (*state.recent[-3:], statistics.mean_log_likelihood)
        noise = max(state.noise, statistics.noise)  # of a difference
        return EMState(
            parameters=here,
            log_likelihood=recent[-1],
            remaining=remaining_gain(recent, noise),
            exhausted=len(recent) > 1 and abs(recent[-1] - recent[-2]) <= noise,
            upcoming=maximise(self.family, statistics, here, self.floor),
            recent=recent,
            noise=statistics.noise,
        )


def maximise(family: Family, statistics: SufficientStatistics, previous: Parameters, floor: float) -> Parameters:
    """The M-step: the family's maximiser of the expected complete log-likelihood given the statistics."""
    return family.m_step(statistics.counts, statistics.sums, statistics.quads, previous, floor)


def expected_log_joint(family: Family, statistics: SufficientStatistics, p: Parameters) -> Tensor:
    """⟨T, η(θ)⟩ / N in nats per row, differentiable in θ: Σ_nk r_nk log π_k N(x_n | μ_k, Σ_k) / N, r held fixed.

    What `maximise` maximises. Its gradient at the parameters of the pass is that of the mean log-likelihood, by
    Fisher's identity.
    """
    eta = family.coefficients(p)
    linear = torch.cat([statistics.counts[:, None], statistics.sums], 1)
    return ((eta.linear * linear).sum() + (eta.quad * statistics.quads).sum()) / statistics.weight
