"""Gradient descent on the mean negative log-likelihood, with the gradient taken from the sufficient statistics.

By Fisher's identity ∇ log L(θ) = ∇ ⟨T, η(θ)⟩ with T, the statistics at θ, held fixed: autograd runs through η,
K × P numbers, never through the rows. Parameters are free (logits, means, log-variances or Cholesky factors with
log-diagonal), in the coordinates of the fit; a floor is held by projection after the step.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from gmmcli.families.base import Family, Parameters, Unconstrained
from gmmcli.fitting.engine import Batch, Engine, Request, State
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.stopping import NO_PROGRESS, SCHEDULE_END
from gmmcli.passes.sums import SufficientStatistics

LINE_SEARCH_PASSES = 25


def remaining_by_em(objective: Objective, statistics: SufficientStatistics, p: Parameters) -> float:
    """Estimate of the remaining gain, nats per row, from the promised gain of an EM step from here."""
    return objective.promised_by_em(statistics, p, objective.maximise(statistics, p))


@dataclass(frozen=True)
class DescentState(State):
    """free: the free tensors; optimizer, schedule: what torch's objects of these names know, none before the first
    step; epoch: how many passes the schedule has done.

    known: the newest point that was evaluated, where it may be asked for again; stuck: whether the last line
    search failed.
    """

    free: Unconstrained | None = None
    optimizer: Mapping[str, Any] | None = None
    schedule: Mapping[str, Any] | None = None
    epoch: int = 0
    known: tuple[Parameters, SufficientStatistics] | None = None
    stuck: bool = False


@dataclass(frozen=True)
class Adam(Engine):
    """Adam with cosine annealing to zero, on all rows or on batches of them; an epoch of batches counts as a pass.

    mixture_lr: learning rate of the logits; component_lr: of means and covariances; epochs: length of the schedule;
    batches: steps an epoch. With batches, the log-likelihood that a step reports is the mean over its batches,
    each before its update.
    """

    objective: Objective
    mixture_lr: float
    component_lr: float
    epochs: int
    batches: int = 1

    def start(self, parameters: Parameters) -> DescentState:
        """Begins at these parameters, with a fresh optimiser."""
        parameters = self.objective.hold(parameters)
        return DescentState(parameters, free=self.objective.family.unconstrain(parameters))

    def step(self, state: State) -> Generator[Request, SufficientStatistics, State]:
        """One update on all rows, or an epoch of updates on batches."""
        assert isinstance(state, DescentState)
        assert state.free is not None
        descent, family = _Descent(self, state), self.objective.family
        epoch = state.epoch + 1
        if self.batches == 1:
            here = _detached(family.constrain(descent.free))
            statistics = yield Request(here)
            descent.update(statistics)
            mean = self.objective.value(statistics, here)
            remaining = remaining_by_em(self.objective, statistics, here)
            if mean < state.log_likelihood:  # not monotone: keep the best that was evaluated
                here, mean = state.parameters, state.log_likelihood
        else:
            total = weight = 0.0
            for index in range(self.batches):
                here = _detached(family.constrain(descent.free))
                statistics = yield Request(here, Batch(state.epoch, index))
                descent.update(statistics)
                total += statistics.weight * self.objective.value(statistics, here)
                weight += statistics.weight
            here = _detached(family.constrain(descent.free))
            mean, remaining = total / weight, float("inf")
            if epoch >= self.epochs:  # batches tell of no single model: evaluate all rows once
                statistics = yield Request(here)
                mean = self.objective.value(statistics, here)
                remaining = remaining_by_em(self.objective, statistics, here)
        return replace(
            state,
            parameters=here,
            log_likelihood=mean,
            remaining=remaining,
            stop=SCHEDULE_END if epoch >= self.epochs else None,
            free=_plain(descent.free),
            optimizer=descent.optimizer.state_dict(),
            schedule=descent.schedule.state_dict(),
            epoch=epoch,
        )


class _Descent:
    """Adam and its schedule as they stand in a state, for the length of a step. free: the leaves that it moves."""

    def __init__(self, engine: Adam, state: DescentState) -> None:
        assert state.free is not None
        self._objective, family = engine.objective, engine.objective.family
        self.free = free = _leaves(state.free)
        groups = [
            {"params": [free.logits], "lr": engine.mixture_lr},
            {"params": [free.means, free.raw] if family.learned else [free.means], "lr": engine.component_lr},
        ]
        self.optimizer = torch.optim.Adam(groups)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, engine.epochs * engine.batches)
        if state.optimizer is not None and state.schedule is not None:
            self.optimizer.load_state_dict(_own(state.optimizer))
            self.schedule.load_state_dict(_own(state.schedule))

    def update(self, statistics: SufficientStatistics) -> None:
        """Moves the free tensors against the gradient at them."""
        _set_gradient(self._objective, self.free, statistics)
        self.optimizer.step()
        self.schedule.step()
        _project(self._objective, self.free)


@dataclass(frozen=True)
class LBFGS(Engine):
    """Limited-memory BFGS with strong-Wolfe line search, on all rows. A step takes a pass for each point it tries.

    torch's LBFGS evaluates through a callback, from which a generator cannot yield. So when a line search meets a
    point that has not been evaluated, the step yields the request and then repeats the search from its start: the
    points that are known by now cost no pass.
    """

    objective: Objective

    def start(self, parameters: Parameters) -> DescentState:
        """Begins at these parameters, without curvature."""
        parameters = self.objective.hold(parameters)
        return DescentState(parameters, free=self.objective.family.unconstrain(parameters))

    def step(self, state: State) -> Generator[Request, SufficientStatistics, State]:
        """One direction and its line search."""
        assert isinstance(state, DescentState)
        assert state.free is not None
        known = [] if state.known is None else [state.known]
        while True:
            free = _leaves(state.free)
            optimizer = _lbfgs(self.objective.family, free)
            if state.optimizer is not None:
                optimizer.load_state_dict(_own(state.optimizer))
            try:
                return self._searched(state, free, optimizer, known)
            except _Unknown as unknown:
                point = unknown.point
            known.append((point, (yield Request(point))))

    def _searched(
        self,
        state: DescentState,
        free: Unconstrained,
        optimizer: torch.optim.Optimizer,
        known: Sequence[tuple[Parameters, SufficientStatistics]],
    ) -> State:
        """The state after a direction and its line search. Raises _Unknown at the first point that is not known."""

        def evaluate() -> tuple[Parameters, SufficientStatistics]:
            here = _detached(self.objective.family.constrain(free))
            for point, statistics in known:  # the search begins and ends at points that were evaluated before
                if _same(point, here):
                    return point, statistics
            raise _Unknown(here)

        def loss() -> float:
            tried, statistics = evaluate()
            _set_gradient(self.objective, free, statistics)
            return -self.objective.value(statistics, tried)

        optimizer.step(loss)  # type: ignore[arg-type]  # LBFGS takes any number, and calls it several times
        moved = _project(self.objective, free)
        here, statistics = evaluate()
        mean = self.objective.value(statistics, here)
        # After a projection the curvature is that of another point, and curvature may be why a search failed. Both
        # times it is dropped. A search that fails without curvature has nothing left to try.
        stuck = mean <= state.log_likelihood and not moved
        return DescentState(
            parameters=here,
            log_likelihood=mean,
            remaining=remaining_by_em(self.objective, statistics, here),
            stop=NO_PROGRESS if stuck and state.stuck else None,
            free=_plain(free),
            optimizer=None if moved or stuck else optimizer.state_dict(),
            stuck=stuck,
            known=(here, statistics),
        )


class _Unknown(Exception):
    """A line search needs a point that has not been evaluated."""

    def __init__(self, point: Parameters) -> None:
        super().__init__()
        self.point = point


def _lbfgs(family: Family, free: Unconstrained) -> torch.optim.Optimizer:
    leaves = [free.logits, free.means, free.raw] if family.learned else [free.logits, free.means]
    return torch.optim.LBFGS(
        leaves, max_iter=1, max_eval=LINE_SEARCH_PASSES, tolerance_change=0, history_size=20,
        tolerance_grad=0, line_search_fn="strong_wolfe",
    )  # fmt: skip


def _own(known: Mapping[str, Any]) -> dict[str, Any]:
    """A copy: torch's optimisers change in place what they are given."""
    return copy.deepcopy({**known})


def _leaves(u: Unconstrained) -> Unconstrained:
    parts = (t.detach().clone(memory_format=torch.contiguous_format) for t in (u.logits, u.means, u.raw))
    return Unconstrained(*(t.requires_grad_() for t in parts))


def _plain(u: Unconstrained) -> Unconstrained:
    return Unconstrained(*(t.detach() for t in (u.logits, u.means, u.raw)))


def _detached(p: Parameters) -> Parameters:
    # Copies: the means are the leaf itself, which the optimiser changes in place.
    own = (t.detach().clone() for t in (p.weights, p.means, p.scale))
    return Parameters(*own, background=None if p.background is None else p.background.detach().clone())


def _same(a: Parameters, b: Parameters) -> bool:
    return torch.equal(a.weights, b.weights) and torch.equal(a.means, b.means) and torch.equal(a.scale, b.scale)


def _set_gradient(objective: Objective, free: Unconstrained, statistics: SufficientStatistics) -> None:
    """Leaves the gradient of the negative objective on the free tensors."""
    for leaf in (free.logits, free.means, free.raw):
        leaf.grad = None
    (-objective.expected(statistics, objective.family.constrain(free))).backward()


@torch.no_grad()
def _project(objective: Objective, free: Unconstrained) -> bool:
    """Raises learned variances below the floor to it; returns whether any was."""
    family = objective.family
    if not family.learned:
        return False
    dims = free.means.shape[1]
    scale = family.from_raw(free.raw, dims)
    raised = family.project(scale, dims, objective.floor)
    moved = bool((raised != scale).any())
    if moved:
        free.raw.copy_(family.to_raw(raised, dims))
    return moved
