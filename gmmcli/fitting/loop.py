"""The loop: steps the fits from several starts side by side, one pass for all at a time, until each has stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gmmcli.errors import NumericalError
from gmmcli.families.base import Parameters
from gmmcli.fitting.engine import Engine, Evaluator, Request, State, Step
from gmmcli.fitting.stopping import CONVERGED, ITERATION_LIMIT, LEFT_BEHIND, PRECISION_LIMIT, TIME_LIMIT, StopReason
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.one_pass import Answer
from gmmcli.passes.reading import Task

ROUNDING = 1e-6  # of a sum of parts of passes
PATIENCE = 2  # steps in a row whose remaining gain must be below the tolerance or the rounding


@dataclass(frozen=True)
class PassRecord:
    """One step in the history of a fit. Log-likelihood, gain and remaining gain are in nats per row.

    Where there is a prior, the log-likelihood includes log prior / N, up to a constant.
    """

    passes: int  # so far, this step's included; those over samples count as the share of the rows that they are
    log_likelihood: float
    gain: float  # over the step before
    remaining: float  # estimated


@dataclass(frozen=True)
class Reset:
    """Record of a collapsed component. passes: of the run until then. reason: a phrase that names the component."""

    passes: int
    component: int
    reason: str


@dataclass(eq=False)
class Run:
    """One fit from one start.

    state: the newest; history: of its steps on all rows; passes: over all rows, or as many rows; stop: why it ended;
    failure: why it was given up, if it was; resets: of components that had collapsed; answers: what the step that it
    is in has been told so far; due: passes after which it is left, its step done, to go on later; view: the mixture
    of parameters, in data units, for whoever wants to see it.
    """

    restart: int
    state: State
    history: list[PassRecord] = field(default_factory=list)
    passes: float = 0
    stop: StopReason | None = None
    failure: NumericalError | None = None
    patience: int = 0
    resets: list[Reset] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    due: float = math.inf
    view: Callable[[Parameters], GaussianMixture] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the view, which a resumed fit sets anew."""
        return {**self.__dict__, "view": None}

    @property
    def mixture(self) -> GaussianMixture:
        """The mixture that it has now, in data units, components in the order of the start."""
        assert self.view is not None
        return self.view(self.state.parameters)

    @property
    def whole_passes(self) -> int:
        """Passes, a part of one counted as one."""
        return math.ceil(self.passes - ROUNDING)

    @property
    def ended(self) -> bool:
        """Whether it takes no more steps."""
        return self.failure is not None or self.stop is not None


@dataclass(frozen=True)
class Limits:
    """Limits of a run.

    iterations: full passes a run may take. tolerance: a run has converged when its estimated remaining gain is less,
    nats per row; with 0 it never has, and takes all its passes. late: whether the time of the fit is over; called
    before every pass.
    """

    iterations: int
    tolerance: float
    late: Callable[[], bool] = lambda: False


Listener = Callable[[Run, float], None]  # called after every step and at the end of a run, with the seconds elapsed


@dataclass(frozen=True)
class Stage:
    """The rows of a stage of the search, and the rules by which runs are stepped on them.

    begin: time.monotonic() at the start of the fit, from which the listener's seconds are counted. after_pass: called
    when every run has taken in the answers of a pass. Runs that are saved then can go on later as if they had never
    stopped.
    """

    engine: Engine
    evaluate: Evaluator
    limits: Limits
    listener: Listener | None = None
    begin: float = 0.0
    after_pass: Callable[[], None] = lambda: None

    def hear(self, run: Run) -> None:
        """Calls the listener."""
        if self.listener is not None:
            self.listener(run, time.monotonic() - self.begin)


def run_all(stage: Stage, runs: Sequence[Run], beaten: Callable[[Run], bool] = lambda run: False) -> Task[None]:
    """Steps every run, in place, until it has ended. A failure ends that run only.

    beaten: whether a run cannot win any more and is left behind; called after every step.
    """
    engine, evaluate, limits = stage.engine, stage.evaluate, stage.limits
    by_restart = {run.restart: run for run in runs}
    steps: dict[int, Step] = {}
    requests: dict[int, Request] = {}
    in_epoch: set[int] = set()  # runs in the midst of an epoch of batches, whose answers are too many to keep
    offset = evaluate.data.log_volume  # log-likelihoods are shown in the units of the data

    def advance(run: Run, answer: Answer | None) -> None:
        """Sends a run its answer, and notes its next request, or none when it has stopped."""
        requests.pop(run.restart, None)
        try:
            while not run.ended:
                try:
                    if run.restart in steps:
                        requests[run.restart] = _tell(steps[run.restart], answer)
                    elif run.passes < run.due - ROUNDING:  # between steps: no pass is left half used
                        steps[run.restart] = engine.step(run.state)
                        requests[run.restart] = next(steps[run.restart])
                    return
                except StopIteration as end:
                    del steps[run.restart]
                    run.answers.clear()
                    in_epoch.discard(run.restart)
                    _record(run, end.value, limits, offset)
                    if beaten(run):
                        run.stop = LEFT_BEHIND
                    stage.hear(run)
        except NumericalError as error:
            fail(run, error)
        except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
            fail(run, NumericalError(f"a covariance could not be decomposed ({error})"))

    def fail(run: Run, error: NumericalError) -> None:
        run.failure = error
        steps.pop(run.restart).close()
        stage.hear(run)

    for run in runs:
        earlier, run.answers = run.answers, []
        advance(run, None)
        for answer in earlier:  # of a step that was under way when the runs were saved
            run.answers.append(answer)
            advance(run, answer)
    while requests:
        if limits.late() and all(by_restart[i].history for i in requests):  # one step at least gives a log-likelihood
            for i in requests:
                by_restart[i].stop = TIME_LIMIT
                steps[i].close()
            return
        asked = list(requests)
        answers = yield from evaluate([requests[i] for i in asked])
        for i, answer in zip(asked, answers, strict=True):
            by_restart[i].passes += evaluate.cost(requests[i])
            if requests[i].batch is None:
                by_restart[i].answers.append(answer)
            else:
                in_epoch.add(i)
            advance(by_restart[i], answer)
        if not in_epoch:
            stage.after_pass()


def _tell(step: Step, answer: Answer | None) -> Request:
    """The next request of a step that is sent its answer, or is thrown the error that it is."""
    assert answer is not None
    return step.throw(answer) if isinstance(answer, NumericalError) else step.send(answer)


def _record(run: Run, state: State, limits: Limits, offset: float) -> None:
    """Adds the state after a step to the run, and decides whether the run has stopped."""
    gain = state.log_likelihood - run.state.log_likelihood
    run.state = state
    run.history.append(PassRecord(run.whole_passes, state.log_likelihood - offset, gain, state.remaining))
    converged = state.remaining < limits.tolerance
    run.patience = run.patience + 1 if converged or (state.exhausted and limits.tolerance > 0) else 0
    if run.patience >= PATIENCE or (converged and state.stop is not None):
        run.stop = CONVERGED if converged else PRECISION_LIMIT
    elif state.stop is not None:
        run.stop = state.stop
    elif run.passes >= limits.iterations - ROUNDING:
        run.stop = ITERATION_LIMIT
