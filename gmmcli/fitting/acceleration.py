"""Acceleration of EM: an engine that extrapolates its steps, and so needs fewer passes to the same optimum.

`quasi_newton`, `anderson` and `squarem` propose steps; `ENGINES` names the engines that try them, and plain EM.

The engine proposes a step from the secants of its last passes, evaluates it, and keeps it if the log-likelihood has
not fallen. Otherwise it takes the EM step, which is known already: a rejection costs one pass. Points are free
vectors, lengths are in the metric of EM (secants.py). Two rules keep the path near EM's, so that it ends at the
optimum where EM would. While an EM step promises more than SETTLED, EM goes alone. And no step is longer than
`growth` times the step before or the EM step, whichever is longer. While a step gains more than FAR, nothing else is
computed: fits that converge at once take no longer than by EM.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.families.base import Parameters
from gmmcli.fitting.em import EM
from gmmcli.fitting.engine import Engine, Request, State, Step
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.secants import Secants, inner
from gmmcli.fitting.stopping import EM_RATE, NOISE, STALLED, hidden_gain, promised_remaining
from gmmcli.passes.sums import SufficientStatistics

SETTLED = 1e-4  # nats per row that an EM step promises; above it, where the path decides the optimum, EM goes alone
FAR = 1e-2  # nats per row that a step gains; above it the promise of the next is not computed
DEPTH = 10  # steps remembered
BUDGET = 2**24  # most numbers in the remembered steps, and in their lags
SHALLOWEST = 3  # least number of remembered steps
RECENT = 5  # number of points for which slow directions are remembered


@dataclass(frozen=True)
class Local:
    """vector: the parameters as a free vector (F,). residual: the EM step as a dual (2, F), (G(θ) − θ, gradient)."""

    vector: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Point:
    """Parameters that were evaluated, with the results of the pass.

    level: log-likelihood, nats per row. noise: its rounding error. image: the parameters after an EM step. local: the
    EM step as a free vector; None far from an optimum, where it is not needed.
    """

    parameters: Parameters
    level: float
    noise: float
    image: Parameters
    local: Local | None

    @property
    def promise(self) -> float:
        """Promised gain of an EM step, to second order, nats per row; infinite far from an optimum."""
        return math.inf if self.local is None else inner(self.local.residual, self.local.residual) / 2


@dataclass(frozen=True)
class AcceleratedState(State):
    """State of an accelerated EM.

    at: the point from which the next step starts, the best up to rounding; None before the first pass. secants: of
    the last steps. reach: length of the last step. by_em: whether EM made the last step. recent: the last
    log-likelihoods. slowness: of the secants at the last points.
    """

    at: Point | None = None
    secants: Secants | None = None
    reach: float = 0.0
    by_em: bool = True
    recent: tuple[float, ...] = ()
    slowness: tuple[float, ...] = ()


# The step to try, as a dual (2, F), from EM's step as a dual, one or more secants, and whether EM made the last step.
# None if the EM step is to be taken.
Proposal = Callable[[Tensor, Secants, bool], Tensor | None]


@dataclass(frozen=True)
class Accelerated(Engine):
    """EM with the steps of a proposal. growth: largest ratio of a step's length to the length of the one before."""

    objective: Objective
    propose: Proposal
    growth: float

    def start(self, parameters: Parameters) -> AcceleratedState:
        """The state at these parameters, with the floor held."""
        return AcceleratedState(self.objective.hold(parameters))

    def step(self, state: State) -> Step:
        """One step: a pass, and a second one if the proposed step is rejected."""
        assert isinstance(state, AcceleratedState)
        at = state.at
        if at is None:
            first = self._point(state.parameters, (yield Request(state.parameters)), -math.inf)
            return self._arrived(state, first, None)
        step = self._limited(state, at)
        if at.local is not None and step is not None:
            try:
                there = self._moved(at.parameters, at.local, step)
                point = self._point(there, (yield Request(there)), at.level)
                if point.level >= at.level - max(at.noise, point.noise):
                    return self._arrived(replace(state, by_em=False), point, step)
            except (NumericalError, torch.linalg.LinAlgError):  # pyright: ignore[reportPrivateImportUsage]
                pass  # the step left the domain, and is rejected
        point = self._point(at.image, (yield Request(at.image)), at.level)
        return self._arrived(replace(state, by_em=True), point, None if at.local is None else at.local.residual)

    def _limited(self, state: AcceleratedState, at: Point) -> Tensor | None:
        """The proposed step, cut to its greatest length; None if EM goes alone."""
        if at.local is None or state.secants is None or not len(state.secants) or not 0 < at.promise <= SETTLED:
            return None
        residual = at.local.residual
        step = self.propose(residual, state.secants, state.by_em)
        if step is None or not bool(step.isfinite().all()):
            return None
        length, uphill = _length(step), inner(step, residual) > 0
        if not (uphill and length > 0):
            return None
        return step * min(1.0, self.growth * max(_length(residual), state.reach) / length)

    def _moved(self, like: Parameters, at: Local, step: Tensor) -> Parameters:
        """The parameters after a step. Raises NumericalError or LinAlgError where no pass can be made there."""
        there = self.objective.parameters(at.vector + step[0], like)
        eta = self.objective.family.coefficients(there)
        if not bool(eta.linear.isfinite().all() and eta.quad.isfinite().all()):
            raise NumericalError("the step overflows")
        return there

    def _point(self, p: Parameters, statistics: SufficientStatistics, before: float) -> Point:
        """An evaluated point. before: the log-likelihood from which the step to it started."""
        level, image = self.objective.value(statistics, p), self.objective.maximise(statistics, p)
        if level - before > FAR:
            return Point(p, level, statistics.noise, image, None)
        vector, objective = self.objective.free_vector(p), self.objective
        residual = torch.stack([objective.free_vector(image) - vector, objective.gradient(vector, p, statistics)])
        return Point(p, level, statistics.noise, image, Local(vector, residual))

    def _arrived(self, state: AcceleratedState, point: Point, step: Tensor | None) -> AcceleratedState:
        """The state at a new point, to which a step (2, F) led from the one before.

        The model to keep is the newest whose log-likelihood is not below the earlier ones, up to rounding.
        """
        secants = self._learnt(state, point, step)
        kept = point.level >= max(state.recent, default=-math.inf) - point.noise
        level = point.level if kept else state.log_likelihood
        recent = (*state.recent[-STALLED:], level)
        stalled = len(recent) > STALLED and level - recent[0] <= point.noise
        lost = hidden_gain(point.noise)
        exhausted = stalled or point.promise <= lost
        slow = math.inf if secants is None or point.local is None else secants.slowness()
        slowness = (*state.slowness[1 - RECENT :], 1 / (1 - EM_RATE) if exhausted and math.isinf(slow) else slow)
        return replace(
            state,
            parameters=point.parameters if kept else state.parameters,
            log_likelihood=level,
            remaining=promised_remaining(max(point.promise, lost), slowness),
            exhausted=exhausted,
            at=point,
            secants=secants,
            reach=0.0 if step is None else _length(step),
            recent=recent,
            slowness=slowness,
        )

    def _learnt(self, state: AcceleratedState, point: Point, step: Tensor | None) -> Secants | None:
        """The secants, extended by the step from the point before if it is longer than rounding."""
        before = None if state.at is None else state.at.local
        if step is None or before is None or point.local is None:
            return state.secants
        moved = torch.stack([point.local.vector - before.vector, step[1]])  # a floor may have changed it on the way
        lag = before.residual - point.local.residual
        if not (_length(lag) > NOISE * point.noise and bool(moved.isfinite().all() and lag.isfinite().all())):
            return state.secants
        secants = Secants.none(lag.shape[1]) if state.secants is None else state.secants
        return secants.extended(moved, lag, depth=min(DEPTH, max(SHALLOWEST, BUDGET // lag.numel())))


def _length(dual: Tensor) -> float:
    return max(0.0, inner(dual, dual)) ** 0.5


def quasi_newton(residual: Tensor, secants: Secants, by_em: bool) -> Tensor:
    """The step of limited-memory BFGS with EM as its first guess of the curvature."""
    return secants.ascent(residual)


def anderson(residual: Tensor, secants: Secants, by_em: bool) -> Tensor:
    """The step of Anderson acceleration: EM's, from the combination of past points with the smallest residual.

    The gradient there is orthogonal to the steps between the points (type I). On mixtures this needs fewer passes
    than the combination of least norm (type II). Walker & Ni, "Anderson acceleration for fixed-point iterations",
    SIAM J. Numer. Anal. 49 (2011); for EM, Henderson & Varadhan, J. Comput. Graph. Stat. 28 (2019).
    """
    length = (secants.lags[:, 0] * secants.lags[:, 1]).sum(1).sqrt()[:, None, None]
    steps, lags = secants.steps / length, secants.lags / length
    system = steps[:, 0] @ lags[:, 1].mT
    shares = torch.linalg.lstsq(system, steps[:, 0] @ residual[1, :, None], driver="gelsd").solution
    return residual + ((steps - lags) * shares[:, :, None]).sum(0)


def squarem(residual: Tensor, secants: Secants, by_em: bool) -> Tensor | None:
    """The step of SQUAREM after a step of EM: on from θ₁ = θ₀ + r to θ₀ + 2 a r + a² v, a = |r|/|v|.

    r = z₀ and v = z₁ − z₀ are EM's step at θ₀ and its change. Varadhan & Roland, "Simple and globally convergent
    methods for accelerating the convergence of any EM algorithm", Scand. J. Stat. 35 (2008), scheme S3.
    """
    if not by_em:
        return None
    r, lag = secants.steps[-1], secants.lags[-1]  # v = −lag
    a = max(1.0, _length(r) / _length(lag))
    return (2 * a - 1) * r - a * a * lag


ENGINES: dict[str, Callable[[Objective], Engine]] = {
    "bfgs": partial(Accelerated, propose=quasi_newton, growth=3.0),
    "anderson": partial(Accelerated, propose=anderson, growth=100.0),
    "squarem": partial(Accelerated, propose=squarem, growth=100.0),
    "none": EM,
}
