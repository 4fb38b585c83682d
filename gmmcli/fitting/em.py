"""Expectation-maximisation: responsibilities in log space, then the closed-form maximiser.

Dempster, Laird & Rubin, "Maximum likelihood from incomplete data via the EM algorithm", JRSS B 39 (1977). The
log-likelihood never falls, up to rounding. A floor does not change that, since it is part of the maximisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gmmcli.families.base import Parameters
from gmmcli.fitting.engine import Engine, Request, State, Step
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.stopping import STALLED, remaining_gain


@dataclass(frozen=True, kw_only=True)
class EMState(State):
    """State of EM.

    upcoming: the parameters of the next pass. recent: the last four log-likelihoods. noise: rounding error of the
    newest. quiet: number of steps in a row whose log-likelihood equals `level`, up to rounding.
    """

    upcoming: Parameters
    recent: tuple[float, ...] = ()
    noise: float = 0.0
    quiet: int = 0
    level: float = -math.inf


@dataclass(frozen=True)
class EM(Engine):
    """Plain EM for any family."""

    objective: Objective

    def start(self, parameters: Parameters) -> EMState:
        """The state at these parameters, with the floor held."""
        parameters = self.objective.hold(parameters)
        return EMState(parameters, upcoming=parameters)

    def step(self, state: State) -> Step:
        """Evaluates the upcoming parameters in one pass, and finds the next ones."""
        assert isinstance(state, EMState)
        here = state.upcoming
        statistics = yield Request(here)
        recent = (*state.recent[-3:], self.objective.value(statistics, here))
        upcoming = self.objective.maximise(statistics, here)
        noise = max(state.noise, statistics.noise)
        lost = len(recent) > 1 and abs(recent[-1] - recent[-2]) <= noise
        remaining = self.objective.promised_by_em(statistics, here, upcoming) if lost else remaining_gain(recent)
        still = abs(recent[-1] - state.level) <= noise
        quiet = state.quiet + 1 if still else 0
        return EMState(
            parameters=here,
            log_likelihood=recent[-1],
            remaining=remaining,
            exhausted=quiet >= STALLED,
            upcoming=upcoming,
            recent=recent,
            noise=statistics.noise,
            quiet=quiet,
            level=state.level if still else recent[-1],
        )
