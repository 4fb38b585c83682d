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
from gmmcli.fitting.stopping import EM_RATE, STALLED, remaining_gain


@dataclass(frozen=True)
class EMState(State):
    """upcoming: the parameters of the next pass; recent: the last four log-likelihoods; noise: of the last.

    quiet: steps in a row that gained no more than rounding.
    """

    upcoming: Parameters | None = None
    recent: tuple[float, ...] = ()
    noise: float = 0.0
    quiet: int = 0


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
        upcoming = maximise(self.family, statistics, here, self.floor)
        lost = len(recent) > 1 and abs(recent[-1] - recent[-2]) <= max(state.noise, statistics.noise)
        remaining = promised_by_em(self.family, statistics, here, upcoming) if lost else remaining_gain(recent)
        quiet = state.quiet + 1 if lost else 0
        return EMState(
            parameters=here,
            log_likelihood=recent[-1],
            remaining=remaining,
            exhausted=quiet >= STALLED,
            upcoming=upcoming,
            recent=recent,
            noise=statistics.noise,
            quiet=quiet,
        )


def maximise(family: Family, statistics: SufficientStatistics, previous: Parameters, floor: float) -> Parameters:
    """The M-step: the family's maximiser of the expected complete log-likelihood given the statistics."""
    return family.m_step(statistics.counts, statistics.sums, statistics.quads, previous, floor)


def promised_by_em(family: Family, statistics: SufficientStatistics, p: Parameters, step: Parameters) -> float:
    """What may remain to be gained, nats per row: the gain that an EM step from p promises, over 1 − EM_RATE.

    The promised gain ⟨T, η(M(T)) − η(θ)⟩ is a lower bound of the step's true one, needs no pass of its own, and errs
    by the square of what rounding does to the log-likelihood. step: where the EM step leads.
    """
    promised = expected_log_joint(family, statistics, step) - expected_log_joint(family, statistics, p)
    return max(0.0, float(promised)) / (1 - EM_RATE)


def expected_log_joint(family: Family, statistics: SufficientStatistics, p: Parameters) -> Tensor:
    """⟨T, η(θ)⟩ / N in nats per row, differentiable in θ: Σ_nk r_nk log π_k N(x_n | μ_k, Σ_k) / N, r held fixed.

    What `maximise` maximises. Its gradient at the parameters of the pass is that of the mean log-likelihood, by
    Fisher's identity.
    """
    eta = family.coefficients(p)
    linear = torch.cat([statistics.counts[:, None], statistics.sums], 1)
    return ((eta.linear * linear).sum() + (eta.quad * statistics.quads).sum()) / statistics.weight
