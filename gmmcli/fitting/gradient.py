"""Gradient descent on the mean negative log-likelihood, with the gradient taken from the sufficient statistics.

By Fisher's identity ∇ log L(θ) = ∇ ⟨T, η(θ)⟩ with T, the statistics at θ, held fixed: autograd runs through η,
K × P numbers, never through the rows. Parameters are free (logits, means, log-variances or Cholesky factors with
log-diagonal), in the coordinates of the fit; a floor is held by projection after the step.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import torch

from gmmcli.families.base import Family, Parameters, Unconstrained
from gmmcli.fitting.coroutine import as_generator
from gmmcli.fitting.engine import Batch, Engine, Request, State
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.statistics import SufficientStatistics
from gmmcli.fitting.stopping import NO_PROGRESS, SCHEDULE_END

LINE_SEARCH_PASSES = 25


def remaining_by_em(objective: Objective, statistics: SufficientStatistics, p: Parameters) -> float:
    """What may remain to be gained, nats per row, by what an EM step from here promises."""
    return objective.promised_by_em(statistics, p, objective.maximise(statistics, p))


@dataclass(frozen=True)
class DescentState(State):
    """free: the leaf tensors, which `optimizer` changes in place; epoch: how many passes the schedule has done.

    known: the newest point that was evaluated, where it may be asked for again; stuck: whether the last line
    search failed.
    """

    free: Unconstrained | None = None
    optimizer: torch.optim.Optimizer | None = None
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None
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
        free = _leaves(self.objective.family, parameters)
        groups = [
            {"params": [free.logits], "lr": self.mixture_lr},
            {
                "params": [free.means, free.raw] if self.objective.family.learned else [free.means],
                "lr": self.component_lr,
            },
        ]
        optimizer = torch.optim.Adam(groups)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs * self.batches)
        return DescentState(parameters, free=free, optimizer=optimizer, schedule=schedule)

    def step(self, state: State) -> Generator[Request, SufficientStatistics, State]:
        """One update on all rows, or an epoch of updates on batches."""
        assert isinstance(state, DescentState)
        assert state.free is not None
        epoch = state.epoch + 1
        if self.batches == 1:
            here = _detached(self.objective.family.constrain(state.free))
            statistics = yield Request(here)
            self._update(state, statistics)
            mean = self.objective.value(statistics, here)
            remaining = remaining_by_em(self.objective, statistics, here)
            if mean < state.log_likelihood:  # not monotone: keep the best that was evaluated
                here, mean = state.parameters, state.log_likelihood
        else:
            total = weight = 0.0
            for index in range(self.batches):
                here = _detached(self.objective.family.constrain(state.free))
                statistics = yield Request(here, Batch(state.epoch, index))
                self._update(state, statistics)
                total += statistics.weight * self.objective.value(statistics, here)
                weight += statistics.weight
            here = _detached(self.objective.family.constrain(state.free))
            mean, remaining = total / weight, float("inf")
            if epoch >= self.epochs:  # what batches say is of no one model: look once at all rows
                statistics = yield Request(here)
                mean = self.objective.value(statistics, here)
                remaining = remaining_by_em(self.objective, statistics, here)
        return replace(
            state,
            parameters=here,
            log_likelihood=mean,
            remaining=remaining,
            stop=SCHEDULE_END if epoch >= self.epochs else None,
            epoch=epoch,
        )

    def _update(self, state: DescentState, statistics: SufficientStatistics) -> None:
        """Moves the free tensors against the gradient at them."""
        assert state.free is not None
        assert state.optimizer is not None
        assert state.schedule is not None
        _set_gradient(self.objective, state.free, statistics)
        state.optimizer.step()
        state.schedule.step()
        _project(self.objective, state.free)


@dataclass(frozen=True)
class LBFGS(Engine):
    """Limited-memory BFGS with strong-Wolfe line search, on all rows. A step takes a pass for each point it tries."""

    objective: Objective

    def start(self, parameters: Parameters) -> DescentState:
        """Begins at these parameters, without curvature."""
        parameters = self.objective.hold(parameters)
        free = _leaves(self.objective.family, parameters)
        return DescentState(parameters, free=free, optimizer=_lbfgs(self.objective.family, free))

    def step(self, state: State) -> Generator[Request, SufficientStatistics, State]:
        """One direction and its line search."""
        assert isinstance(state, DescentState)
        assert state.free is not None
        assert state.optimizer is not None
        free, optimizer = state.free, state.optimizer

        def search(evaluate: Callable[[Request], SufficientStatistics]) -> State:
            known = [] if state.known is None else [state.known]

            def look() -> tuple[Parameters, SufficientStatistics]:
                here = _detached(self.objective.family.constrain(free))
                for seen in known:  # the search begins and ends at points that it has evaluated before
                    if _same(seen[0], here):
                        return seen
                known.append((here, evaluate(Request(here))))
                return known[-1]

            def loss() -> float:
                tried, statistics = look()
                _set_gradient(self.objective, free, statistics)
                return -self.objective.value(statistics, tried)

            optimizer.step(loss)  # type: ignore[arg-type]  # LBFGS takes any number, and calls it several times
            moved = _project(self.objective, free)
            here, statistics = look()
            mean = self.objective.value(statistics, here)
            # A projection leaves the curvature that of another point, and a failed search may be curvature's
            # fault: begin it anew. A search that fails without curvature has nothing left to try.
            stuck = mean <= state.log_likelihood and not moved
            return DescentState(
                parameters=here,
                log_likelihood=mean,
                remaining=remaining_by_em(self.objective, statistics, here),
                stop=NO_PROGRESS if stuck and state.stuck else None,
                free=free,
                optimizer=_lbfgs(self.objective.family, free) if moved or stuck else optimizer,
                stuck=stuck,
                known=(here, statistics),
            )

        return (yield from as_generator(search))


def _lbfgs(family: Family, free: Unconstrained) -> torch.optim.Optimizer:
    leaves = [free.logits, free.means, free.raw] if family.learned else [free.logits, free.means]
    return torch.optim.LBFGS(
        leaves, max_iter=1, max_eval=LINE_SEARCH_PASSES, tolerance_change=0, history_size=20,
        tolerance_grad=0, line_search_fn="strong_wolfe",
    )  # fmt: skip


def _leaves(family: Family, p: Parameters) -> Unconstrained:
    u = family.unconstrain(p)
    return Unconstrained(*(t.detach().clone().requires_grad_() for t in (u.logits, u.means, u.raw)))


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
    scale = family.from_raw(free.raw)
    raised = family.project(scale, objective.floor)
    moved = bool((raised != scale).any())
    if moved:
        free.raw.copy_(family.to_raw(raised))
    return moved
