"""Acceleration of EM: engines that extrapolate its steps, and so need fewer passes to the same optimum.

Each proposes a step of its own from what its last passes have taught, evaluates it, and keeps it if the
log-likelihood has not fallen; otherwise it takes the EM step that is already at hand, so that a rejection costs
one pass. Points are free vectors (see chart), lengths are in the metric of EM (see secants). Two rules keep the
path on EM's, so that it ends at the optimum where EM would: while an EM step promises more than SETTLED, EM goes
alone; and no step is longer than `growth` times the one before or the EM step, whichever is longer.
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
from gmmcli.fitting.stopping import promised_remaining, rounding

SETTLED = 1e-4  # nats per row that an EM step promises; above it, where the path decides the optimum, EM goes alone
DEPTH = 10  # steps remembered
BUDGET = 2**25  # numbers that they may take
SHALLOWEST = 3  # steps remembered where that is too little


@dataclass(frozen=True)
class Point:
    """Parameters that were evaluated, and what the pass says of them.

    level: log-likelihood, nats per row; vector: the parameters free, (F,); image: those after an EM step;
    residual: the EM step as a dual, that is (G(θ) − θ, gradient), (2, F).
    """

    parameters: Parameters
    level: float
    vector: Tensor
    image: Parameters
    residual: Tensor

    @property
    def promise(self) -> float:
        """What an EM step promises to gain, to second order, nats per row."""
        return inner(self.residual, self.residual) / 2


@dataclass(frozen=True)
class AcceleratedState(State):
    """at: where the next step starts, the model to keep but for rounding; none before the first pass.

    secants: of the last steps; reach: length of the last; by_em: whether it was EM's own.
    """

    at: Point | None = None
    secants: Secants | None = None
    reach: float = 0.0
    by_em: bool = True


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
    def propose(
        self,
        residual: Tensor,  # (2, F)
        secants: Secants,
        by_em: bool,
    ) -> Tensor | None:
        """The step to try as a dual (2, F), or None where EM's is the one to take.

        residual: EM's step, as a dual; secants: one at least; by_em: whether the last step was EM's own.
        """

    @final
    def start(self, parameters: Parameters) -> AcceleratedState:
        """Begins at these parameters, with the floor held."""
        return AcceleratedState(self.family.hold(parameters, self.floor))

    @final
    def step(self, state: State) -> Generator[Request, SufficientStatistics, State]:
        """One step: a pass, and another where what was proposed is rejected."""
        assert isinstance(state, AcceleratedState)
        if state.at is None or state.secants is None:
            point = self._point(state.parameters, (yield Request(state.parameters)))
            return _arrived(state, point, Secants.none(len(point.vector)), 0.0, by_em=True)
        at = state.at
        step = self._limited(state, at, state.secants)
        if step is not None:
            try:
                there = self._moved(at, step)
                point = self._point(there, (yield Request(there)))
                if point.level >= at.level - rounding(at.level):
                    return _arrived(
                        state, point, _learned(state.secants, at, point, step), _length(step), by_em=False
                    )
            except (NumericalError, torch.linalg.LinAlgError):  # pyright: ignore[reportPrivateImportUsage]
                pass  # it went out of bounds, which is as good as a fall
        point = self._point(at.image, (yield Request(at.image)))
        secants = _learned(state.secants, at, point, at.residual)
        return _arrived(state, point, secants, _length(at.residual), by_em=True)

    def _limited(self, state: AcceleratedState, at: Point, secants: Secants) -> Tensor | None:
        """What is proposed, no longer than it may be; None where EM goes alone."""
        if not (len(secants) and 0 < at.promise <= SETTLED):
            return None
        step = self.propose(at.residual, secants, state.by_em)
        if step is None or not bool(step.isfinite().all()):
            return None
        length, uphill = _length(step), inner(step, at.residual) > 0
        if not (uphill and length > 0):
            return None
        return step * min(1.0, self.growth * max(_length(at.residual), state.reach) / length)

    def _moved(self, at: Point, step: Tensor) -> Parameters:
        """The parameters after a step. Raises NumericalError or LinAlgError where no pass can be made there."""
        there = Chart(self.family, self.floor).parameters(at.vector + step[0], at.parameters)
        eta = self.family.coefficients(there)
        if not bool(eta.linear.isfinite().all() and eta.quad.isfinite().all()):
            raise NumericalError("the step overflows")
        return there

    def _point(self, p: Parameters, statistics: SufficientStatistics) -> Point:
        chart = Chart(self.family, self.floor)
        vector = chart.vector(p)
        image = maximise(self.family, statistics, p, self.floor)
        residual = torch.stack([chart.vector(image) - vector, chart.gradient(p, statistics)])
        return Point(p, statistics.mean_log_likelihood, vector, image, residual)


def _length(dual: Tensor) -> float:
    return max(0.0, inner(dual, dual)) ** 0.5


def _learned(secants: Secants, before: Point, after: Point, step: Tensor) -> Secants:
    """With the step from one point to the next, which a floor may have changed on the way."""
    moved = torch.stack([after.vector - before.vector, step[1]])
    depth = min(DEPTH, max(SHALLOWEST, BUDGET // (4 * len(after.vector))))
    return secants.extended(moved, before.residual - after.residual, depth)


def _arrived(
    state: AcceleratedState, point: Point, secants: Secants, reach: float, *, by_em: bool
) -> AcceleratedState:
    """The state at a new point. The model to keep is the last that is no lower, but for rounding, than any before."""
    kept = point.level >= state.log_likelihood - rounding(point.level)
    return replace(
        state,
        parameters=point.parameters if kept else state.parameters,
        log_likelihood=point.level if kept else state.log_likelihood,
        remaining=promised_remaining(point.promise, secants.slowness(), point.level),
        at=point,
        secants=secants,
        reach=reach,
        by_em=by_em,
    )


@dataclass(frozen=True)
class QuasiNewton(Accelerated):
    """Limited-memory BFGS with EM as its first guess of the curvature."""

    growth: float = 3.0

    def propose(self, residual: Tensor, secants: Secants, by_em: bool) -> Tensor | None:
        """The quasi-Newton step."""
        return secants.ascent(residual)


@dataclass(frozen=True)
class Anderson(Accelerated):
    """Anderson acceleration: the step from the combination of past points whose residual is nearest to none.

    That is the one whose gradient is orthogonal to the steps between them (type I): on mixtures it needs fewer
    passes than the one of least residual. Walker & Ni, "Anderson acceleration for fixed-point iterations", SIAM J.
    Numer. Anal. 49 (2011); for EM, Henderson & Varadhan, J. Comput. Graph. Stat. 28 (2019).
    """

    growth: float = 100.0

    def propose(self, residual: Tensor, secants: Secants, by_em: bool) -> Tensor | None:
        """EM's step from the best combination of the last points."""
        length = (secants.lags[:, 0] * secants.lags[:, 1]).sum(1).sqrt()[:, None, None]
        steps, lags = secants.steps / length, secants.lags / length
        system = steps[:, 0] @ lags[:, 1].mT
        shares = torch.linalg.lstsq(system, steps[:, 0] @ residual[1, :, None], driver="gelsd").solution
        return residual + ((steps - lags) * shares[:, :, None]).sum(0)


@dataclass(frozen=True)
class Squarem(Accelerated):
    """SQUAREM: after each step of EM's own, one that squares it.

    Varadhan & Roland, "Simple and globally convergent methods for accelerating the convergence of any EM
    algorithm", Scand. J. Stat. 35 (2008), scheme S3: from θ₀ with r = z₀ and v = z₁ − z₀ to θ₀ + 2 a r + a² v,
    a = |r|/|v|.
    """

    growth: float = 100.0

    def propose(self, residual: Tensor, secants: Secants, by_em: bool) -> Tensor | None:
        """The squared step, from θ₁ = θ₀ + r on, where the last step was EM's."""
        if not by_em:
            return None
        r, lag = secants.steps[-1], secants.lags[-1]  # v = −lag
        a = max(1.0, _length(r) / _length(lag))
        return (2 * a - 1) * r - a * a * lag


ENGINES: dict[str, Callable[[Family, float], Accelerated]] = {
    "bfgs": QuasiNewton,
    "anderson": Anderson,
    "squarem": Squarem,
}
