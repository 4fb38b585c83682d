"""Acceleration of EM: engines that extrapolate its steps, and so need fewer passes to the same optimum.

Each proposes a step of its own from what its last passes have taught, evaluates it, and keeps it if the
log-likelihood has not fallen; otherwise it takes the EM step that is already at hand, so that a rejection costs
one pass. Points are free vectors, lengths are in the metric of EM (see secants). Two rules keep the path on EM's,
so that it ends at the optimum where EM would: while an EM step still promises more than SETTLED, EM goes alone;
and no step is longer than `growth` times the one before or the EM step, whichever is longer.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.chart import Chart
from gmmcli.fitting.em import maximise
from gmmcli.fitting.engine import Engine, Request, State
from gmmcli.fitting.secants import Secants, inner
from gmmcli.fitting.statistics import SufficientStatistics
from gmmcli.fitting.stopping import promised_remaining

SETTLED = 1e-4  # nats per row that an EM step promises; above it, where the path decides the optimum, EM goes alone
DEPTH = 10  # steps remembered
BUDGET = 2**25  # numbers that they may take
SHALLOWEST = 3


@dataclass(frozen=True)
class AcceleratedState(State):
    """here: where the next step starts, which is `parameters` but for rounding; level: its log-likelihood.

    vector: here, free, (F,); image: G(here); residual: G(here) − here with its dual, the gradient, (2, F); steps,
    lags: see Secants; reach: length of the last step; by_em: whether it was EM's own.
    """

    here: Parameters | None = None
    level: float = float("-inf")
    vector: Tensor | None = None
    image: Parameters | None = None
    residual: Tensor | None = None
    steps: Tensor | None = None
    lags: Tensor | None = None
    reach: float = 0.0
    by_em: bool = True

    @property
    def secants(self) -> Secants:
        """The last steps and lags."""
        assert self.steps is not None
        assert self.lags is not None
        return Secants(self.steps, self.lags)


@dataclass(frozen=True)
class Accelerated(Engine):
    """What accelerations have in common: all but the step that they propose.

    floor: smallest variance or eigenvalue, in the coordinates of the fit; growth: of a step's length over the one
    before, at most.
    """

    family: Family
    floor: float
    growth: float

    @abstractmethod
    def propose(self, state: AcceleratedState) -> Tensor | None:
        """The step to try from here as a dual (2, F), or None where EM's is the one to take."""

    @final
    def start(self, parameters: Parameters) -> AcceleratedState:
        """Begins at these parameters, with the floor held."""
        return AcceleratedState(self.family.hold(parameters, self.floor))

    @final
    def step(self, state: State) -> Generator[Request, SufficientStatistics, State]:
        """One step: a pass, and another where what was proposed is rejected."""
        assert isinstance(state, AcceleratedState)
        here = state.here
        if here is None:
            return self._arrive(state, state.parameters, (yield Request(state.parameters)))
        assert state.residual is not None
        assert state.vector is not None
        step = self._limited(state)
        if step is not None:
            try:
                there = Chart(self.family, self.floor).parameters(state.vector + step[0], here)
                self._check(there)
                statistics = yield Request(there)
                if statistics.mean_log_likelihood >= state.level:
                    return self._arrive(replace(state, by_em=False), there, statistics, step)
            except (NumericalError, torch.linalg.LinAlgError):  # pyright: ignore[reportPrivateImportUsage]
                pass  # out of bounds: as good as a fall
            state = replace(state, reach=state.reach / 2)
        assert state.image is not None
        return self._arrive(replace(state, by_em=True), state.image, (yield Request(state.image)), state.residual)

    def _check(self, p: Parameters) -> None:
        """Raises NumericalError or LinAlgError where a step has gone so far that no pass can be made."""
        eta = self.family.coefficients(p)
        if not bool(eta.linear.isfinite().all() and eta.quad.isfinite().all()):
            raise NumericalError("the step overflows")

    def _limited(self, state: AcceleratedState) -> Tensor | None:
        """What is proposed, no longer than it may be; None where EM goes alone."""
        assert state.residual is not None
        own = inner(state.residual, state.residual)
        if not (len(state.secants) and 0 < own <= 2 * SETTLED):
            return None
        step = self.propose(state)
        if step is None:
            return None
        squared = inner(step, step)
        if not (0 < squared < float("inf") and inner(step, state.residual) > 0):
            return None
        return step * min(1.0, self.growth * max(own**0.5, state.reach) / squared**0.5)

    def _arrive(
        self,
        state: AcceleratedState,
        here: Parameters,
        statistics: SufficientStatistics,
        step: Tensor | None = None,  # (2, F), none for the first point
    ) -> AcceleratedState:
        """The state at a point that was evaluated."""
        chart = Chart(self.family, self.floor)
        vector = chart.vector(here)
        image = maximise(self.family, statistics, here, self.floor)
        residual = torch.stack([chart.vector(image) - vector, chart.gradient(here, statistics)])
        secants, reach = Secants.none(len(vector)), 0.0
        if step is not None:
            assert state.vector is not None
            assert state.residual is not None
            moved = torch.stack([vector - state.vector, step[1]])  # a floor may have moved it further
            depth = min(DEPTH, max(SHALLOWEST, BUDGET // (4 * len(vector))))
            secants = state.secants.extended(moved, state.residual - residual, depth)
            reach = max(0.0, inner(step, step)) ** 0.5
        level = statistics.mean_log_likelihood
        better = level >= state.log_likelihood
        return replace(
            state,
            parameters=here if better else state.parameters,
            log_likelihood=level if better else state.log_likelihood,
            remaining=promised_remaining(inner(residual, residual) / 2, secants.slowness(), level),
            here=here,
            level=level,
            vector=vector,
            image=image,
            residual=residual,
            steps=secants.steps,
            lags=secants.lags,
            reach=reach,
        )


@dataclass(frozen=True)
class QuasiNewton(Accelerated):
    """Limited-memory BFGS with EM as its first guess of the curvature."""

    growth: float = 3.0

    def propose(self, state: AcceleratedState) -> Tensor | None:
        """The quasi-Newton step."""
        assert state.residual is not None
        return state.secants.ascent(state.residual)


@dataclass(frozen=True)
class Anderson(Accelerated):
    """Anderson acceleration: the step from the combination of past points whose residual is nearest to none.

    The one whose gradient is orthogonal to the steps (type I): on mixtures it needs fewer passes than the one of
    the least residual. Walker & Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 49
    (2011); for EM, Henderson & Varadhan, J. Comput. Graph. Stat. 28 (2019).
    """

    growth: float = 100.0

    def propose(self, state: AcceleratedState) -> Tensor | None:
        """The step to the combination's image under EM."""
        assert state.residual is not None
        steps, lags = state.secants.steps, state.secants.lags
        length = (lags[:, 0] * lags[:, 1]).sum(1).sqrt()[:, None]
        steps, lags = steps / length[:, None], lags / length[:, None]
        system = steps[:, 0] @ lags[:, 1].mT
        shares = torch.linalg.lstsq(system, steps[:, 0] @ state.residual[1, :, None], driver="gelsd").solution
        return state.residual + ((steps - lags) * shares[:, :, None]).sum(0)


@dataclass(frozen=True)
class Squarem(Accelerated):
    """SQUAREM: every other step is EM's, twice squared with the length of scheme S3.

    Varadhan & Roland, "Simple and globally convergent methods for accelerating the convergence of any EM
    algorithm", Scand. J. Stat. 35 (2008): from θ₀ with r = z₀ and v = z₁ − z₀ to θ₀ + 2 a r + a² v, a = |r|/|v|.
    """

    growth: float = 100.0

    def propose(self, state: AcceleratedState) -> Tensor | None:
        """The extrapolation, after every step of EM's own."""
        if not state.by_em:
            return None
        r, lag = state.secants.steps[-1], state.secants.lags[-1]  # θ₁ = θ₀ + r is here, and v = −lag
        a = max(1.0, (max(0.0, inner(r, r)) / inner(lag, lag)) ** 0.5)
        return (2 * a - 1) * r - a * a * lag


ENGINES: dict[str, Callable[[Family, float], Accelerated]] = {
    "bfgs": QuasiNewton,
    "anderson": Anderson,
    "squarem": Squarem,
}


ENGINES = {"quasi-newton": QuasiNewton, "anderson": Anderson, "squarem": Squarem}
