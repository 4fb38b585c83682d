"""Runs from several starts, the progress of a search over them, and the loop that steps them.

- `Run`: a fit from one start, with its history. `Progress`, `Heat`: runs between two readings. `Keeper`: saves them.
- `run_all`: steps the runs side by side, one pass for all at a time, until each has stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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

    passes: int  # so far, with this step; a pass over a sample counts as its share of the rows
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

    state: the newest state. history: its steps on all rows. passes: over all rows, or over as many rows. stop: the
    reason of its end. failure: the error that ended it. patience: steps in a row that gained next to nothing. resets:
    of collapsed components. answers: the answers that the step under way has been sent. due: passes after which the
    run pauses, between two steps. view: the function from parameters to a mixture in data units.
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
        """The present mixture in data units, components in the order of the start."""
        assert self.view is not None
        return self.view(self.state.parameters)

    @property
    def whole_passes(self) -> int:
        """Passes, rounded up."""
        return math.ceil(self.passes - ROUNDING)

    @property
    def ended(self) -> bool:
        """Whether it takes no more steps."""
        return self.failure is not None or self.stop is not None


@dataclass
class Heat:
    """Runs on the same rows, and their progress.

    begun: whether the short runs have begun. order: the runs in the order in which they are followed to the end;
    empty before that. first: index in `order` of the first run that is followed now.
    """

    runs: list[Run]
    begun: bool = False
    order: list[Run] = field(default_factory=list)
    first: int = 0


@dataclass
class Progress:
    """Progress of a search between two readings. A search goes on from it as if it had never stopped.

    runs: one of every start. heat: the runs that are not left behind. size: rows of the next sample; all rows come
    next if the data is too small for it.
    """

    runs: list[Run]
    heat: Heat
    size: int

    def copy(self) -> Progress:
        """A copy that never changes: only the lists of a run are changed in place."""
        copies = {
            run: replace(run, history=[*run.history], resets=[*run.resets], answers=[*run.answers])
            for run in self.runs
        }
        runs, order = ([copies[run] for run in some] for some in (self.heat.runs, self.heat.order))
        return Progress([*copies.values()], replace(self.heat, runs=runs, order=order), self.size)


class Keeper:
    """Storage for the progress of a search; this one saves nothing."""

    def saved(self, data: str) -> Progress | None:
        """The progress that an earlier attempt saved. data: fingerprint of the rows."""
        return None

    def passed(self, progress: Progress) -> None:
        """Called after every pass, when the search could go on from this progress."""

    def stopped(self) -> None:
        """Called when the search is given up, for any reason."""


@dataclass(frozen=True)
class Limits:
    """Limits of a run.

    iterations: most full passes of a run. tolerance: nats per row; a run has converged when its estimated remaining
    gain is less. With tolerance 0 no run converges, and each takes all its passes. late: whether the time of the fit
    is over; called before every pass.
    """

    iterations: int
    tolerance: float
    late: Callable[[], bool] = lambda: False


Listener = Callable[[Run, float], None]  # called after every step and at the end of a run, with the seconds elapsed


@dataclass(frozen=True)
class Stage:
    """The rows of a stage of the search, and the rules by which runs are stepped on them.

    hear: called after every step and at the end of a run. after_pass: called when every run has taken in the answers
    of a pass. Runs that are saved then can go on later as if they had never stopped.
    """

    engine: Engine
    evaluate: Evaluator
    limits: Limits
    hear: Callable[[Run], None] = lambda run: None
    after_pass: Callable[[], None] = lambda: None


def run_all(stage: Stage, runs: Sequence[Run], beaten: Callable[[Run], bool] = lambda run: False) -> Task[None]:
    """Steps every run, in place, until it has ended. A failure ends that run only.

    beaten: whether a run cannot win any more and is left behind; called after every step.
    """
    engine, evaluate, limits = stage.engine, stage.evaluate, stage.limits
    steps: dict[Run, Step] = {}
    requests: dict[Run, Request] = {}
    in_epoch: set[Run] = set()  # runs within an epoch of batches: its answers are too many to save
    offset = evaluate.data.log_volume  # log-likelihoods are shown in the units of the data

    def advance(run: Run, answer: Answer | None) -> None:
        """Sends a run its answer, and notes its next request; none if the run has ended or pauses."""
        requests.pop(run, None)
        try:
            while not run.ended:
                try:
                    if run in steps:
                        requests[run] = _tell(steps[run], answer)
                    elif run.passes < run.due - ROUNDING:  # a run pauses between steps: no pass is lost
                        steps[run] = engine.step(run.state)
                        requests[run] = next(steps[run])
                    return
                except StopIteration as end:
                    del steps[run]
                    run.answers.clear()
                    in_epoch.discard(run)
                    _record(run, end.value, limits, offset)
                    if beaten(run):
                        run.stop = LEFT_BEHIND
                    stage.hear(run)
        except (NumericalError, torch.linalg.LinAlgError) as error:  # pyright: ignore[reportPrivateImportUsage]
            known = isinstance(error, NumericalError)
            run.failure = error if known else NumericalError(f"a covariance could not be decomposed ({error})")
            steps.pop(run).close()
            stage.hear(run)

    for run in runs:
        earlier, run.answers = run.answers, []
        advance(run, None)
        for answer in earlier:  # of a step that was under way when the runs were saved
            run.answers.append(answer)
            advance(run, answer)
    while requests:
        if limits.late() and all(run.history for run in requests):  # one step at least gives a log-likelihood
            for run in requests:
                run.stop = TIME_LIMIT
                steps[run].close()
            return
        asked = [*requests.items()]
        answers = yield from evaluate([request for _, request in asked])
        for (run, request), answer in zip(asked, answers, strict=True):
            run.passes += evaluate.cost(request)
            if request.batch is None:
                run.answers.append(answer)
            else:
                in_epoch.add(run)
            advance(run, answer)
        if not in_epoch:
            stage.after_pass()


def _tell(step: Step, answer: Answer | None) -> Request:
    """The next request of a step, after it is sent an answer or thrown an error."""
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
