"""Gradient descent on the mean negative log-likelihood, with the gradient taken from the sufficient statistics.

By Fisher's identity ∇ log L(θ) = ∇ ⟨T, η(θ)⟩ with T, the statistics at θ, held fixed: autograd runs through η,
K × P numbers, never through the rows. Parameters are free (logits, means, log-variances or Cholesky factors with
log-diagonal), in the coordinates of the fit. A floor is held by projection after the step.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from gmmcli.families.base import Parameters, Unconstrained
from gmmcli.fitting.engine import Batch, Engine, Request, State, Step
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.stopping import NO_PROGRESS, SCHEDULE_END
from gmmcli.passes.sums import SufficientStatistics

LINE_SEARCH_PASSES = 25


@dataclass(frozen=True, kw_only=True)
class DescentState(State):
    """State of gradient descent.

    free: the free tensors. optimizer, schedule: state dictionaries of torch's objects of these names; None before the
    first step. epoch: number of passes that the schedule has done. known: the newest point that was evaluated, if it
    may be asked for again. stuck: whether the last line search failed.
    """

    free: Unconstrained
    optimizer: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    epoch: int = 0
    known: tuple[Parameters, SufficientStatistics] | None = None
    stuck: bool = False


@dataclass(frozen=True)
class Descent(Engine):
    """Base of the engines that follow the gradient."""

    objective: Objective

    def start(self, parameters: Parameters) -> DescentState:
        """The state at these parameters, with the floor held and a fresh optimiser."""
        parameters = self.objective.hold(parameters)
        return DescentState(parameters, free=self.objective.family.unconstrain(parameters))

    def constrained(self, free: Unconstrained) -> Parameters:
        """A copy of the parameters at free tensors: the optimiser changes the means in place."""
        p = self.objective.family.constrain(free)
        own = (None if t is None else t.detach().clone() for t in (p.weights, p.means, p.scale, p.background))
        return Parameters(*own)  # type: ignore[arg-type]  # only the background may be None

    def set_gradient(self, free: Unconstrained, statistics: SufficientStatistics) -> None:
        """Leaves the gradient of the negative objective on the free tensors."""
        for leaf in (free.logits, free.means, free.raw):
            leaf.grad = None
        (-self.objective.expected(statistics, self.objective.family.constrain(free))).backward()

    @torch.no_grad()
    def project(self, free: Unconstrained) -> bool:
        """Raises learned variances below the floor to it. Returns whether there were any."""
        family, dims = self.objective.family, free.means.shape[1]
        if not family.learned:
            return False
        scale = family.from_raw(free.raw, dims)
        raised = family.project(scale, dims, self.objective.floor)
        moved = bool((raised != scale).any())
        if moved:
            free.raw.copy_(family.to_raw(raised, dims))
        return moved


@dataclass(frozen=True)
class Adam(Descent):
    """Adam with cosine annealing to zero, on all rows or on batches of them; an epoch of batches counts as a pass.

    mixture_lr: learning rate of the logits; component_lr: of means and covariances; epochs: length of the schedule;
    batches: steps an epoch. With batches, the log-likelihood that a step reports is the mean over its batches,
    each before its update.
    """

    mixture_lr: float
    component_lr: float
    epochs: int
    batches: int = 1

    def step(self, state: State) -> Step:
        """One update on all rows, or an epoch of updates on batches."""
        assert isinstance(state, DescentState)
        objective, whole, epoch = self.objective, self.batches == 1, state.epoch + 1
        free = _leaves(state.free)
        moving = [free.means, free.raw] if objective.family.learned else [free.means]
        rates = ([free.logits], self.mixture_lr), (moving, self.component_lr)
        optimizer = torch.optim.Adam([{"params": params, "lr": rate} for params, rate in rates])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs * self.batches)
        if state.optimizer is not None and state.schedule is not None:
            optimizer.load_state_dict(copy.deepcopy(state.optimizer))  # the optimiser changes it in place
            schedule.load_state_dict(copy.deepcopy(state.schedule))
        here, statistics, total, weight = state.parameters, None, 0.0, 0.0
        for index in range(self.batches):
            here = self.constrained(free)
            statistics = yield Request(here, None if whole else Batch(state.epoch, index))
            self.set_gradient(free, statistics)
            optimizer.step()
            schedule.step()
            self.project(free)
            total += statistics.weight * objective.value(statistics, here)
            weight += statistics.weight
        mean, remaining = total / weight, float("inf")
        if not whole:
            here = self.constrained(free)
            if epoch >= self.epochs:  # the batches were of different models: evaluate the last one on all rows
                statistics = yield Request(here)
        if whole or epoch >= self.epochs:
            assert statistics is not None
            mean = objective.value(statistics, here)
            remaining = objective.promised_by_em(statistics, here)
        if whole and mean < state.log_likelihood:  # not monotone: keep the best that was evaluated
            here, mean = state.parameters, state.log_likelihood
        return replace(
            state,
            parameters=here,
            log_likelihood=mean,
            remaining=remaining,
            stop=SCHEDULE_END if epoch >= self.epochs else None,
            free=_detached(free),
            optimizer=optimizer.state_dict(),
            schedule=schedule.state_dict(),
            epoch=epoch,
        )


class LBFGS(Descent):
    """Limited-memory BFGS with strong-Wolfe line search, on all rows. A step takes a pass for each point it tries.

    torch's LBFGS evaluates through a callback, from which a generator cannot yield. So when a line search meets a
    point that has not been evaluated, the step yields the request and then repeats the search from its start: the
    points that are known by now cost no pass.
    """

    def step(self, state: State) -> Step:
        """One direction and its line search."""
        assert isinstance(state, DescentState)
        known = [] if state.known is None else [state.known]
        while True:
            try:
                return self._searched(state, known)
            except _Unknown as unknown:
                (point,) = unknown.args
            known.append((point, (yield Request(point))))

    def _searched(
        self, state: DescentState, known: Sequence[tuple[Parameters, SufficientStatistics]]
    ) -> DescentState:
        """The state after a direction and its line search. Raises _Unknown at the first point that is not known."""
        objective, free = self.objective, _leaves(state.free)
        moving = [free.logits, free.means, free.raw] if objective.family.learned else [free.logits, free.means]
        optimizer = torch.optim.LBFGS(
            moving, max_iter=1, max_eval=LINE_SEARCH_PASSES, tolerance_change=0, history_size=20,
            tolerance_grad=0, line_search_fn="strong_wolfe",
        )  # fmt: skip
        if state.optimizer is not None:
            optimizer.load_state_dict(copy.deepcopy(state.optimizer))  # the optimiser changes it in place

        def evaluate() -> tuple[Parameters, SufficientStatistics]:
            here = self.constrained(free)
            for point, statistics in known:  # the search begins and ends at points that were evaluated before
                if _same(point, here):
                    return point, statistics
            raise _Unknown(here)

        def loss() -> float:
            tried, statistics = evaluate()
            self.set_gradient(free, statistics)
            return -objective.value(statistics, tried)

        optimizer.step(loss)  # type: ignore[arg-type]  # LBFGS takes any number, and calls it several times
        moved = self.project(free)
        here, statistics = evaluate()
        mean = objective.value(statistics, here)
        # A projection invalidates the curvature, and wrong curvature may make a search fail. In both cases it is
        # dropped. A search that fails without curvature has nothing left to try.
        stuck = mean <= state.log_likelihood and not moved
        return DescentState(
            parameters=here,
            log_likelihood=mean,
            remaining=objective.promised_by_em(statistics, here),
            stop=NO_PROGRESS if stuck and state.stuck else None,
            free=_detached(free),
            optimizer=None if moved or stuck else optimizer.state_dict(),
            stuck=stuck,
            known=(here, statistics),
        )


class _Unknown(Exception):
    """A line search needs a point that has not been evaluated: its only argument."""


def _leaves(u: Unconstrained) -> Unconstrained:
    parts = (t.detach().clone(memory_format=torch.contiguous_format) for t in (u.logits, u.means, u.raw))
    return Unconstrained(*(t.requires_grad_() for t in parts))


def _detached(u: Unconstrained) -> Unconstrained:
    return Unconstrained(*(t.detach() for t in (u.logits, u.means, u.raw)))


def _same(a: Parameters, b: Parameters) -> bool:
    return torch.equal(a.weights, b.weights) and torch.equal(a.means, b.means) and torch.equal(a.scale, b.scale)
