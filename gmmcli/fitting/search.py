"""The search over starts: short runs of all, full runs of the best few, and on large data on samples first.

Short runs from every start come first, then full runs of the most promising (Biernacki, Celeux & Govaert, "Choosing
starting values for the EM algorithm", Computational Statistics & Data Analysis 41, 2003). Large data is searched on a
sample of the rows. The survivors move on to samples STEP times as large, and last to all rows. On a sample a run goes
on until its gains are smaller than the sampling error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gmmcli.errors import NumericalError, Remedy
from gmmcli.families.base import Parameters
from gmmcli.fitting.collapse import reset, without
from gmmcli.fitting.engine import Engine, Evaluator
from gmmcli.fitting.loop import Limits, Listener, Reset, Run, Stage, run_all
from gmmcli.fitting.soundness import Flaw, find_flaw, rank
from gmmcli.fitting.stopping import LEFT_BEHIND, TIME_LIMIT
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.reading import Task

RESETS = 3  # most resets of collapsed components in a restart
FINALISTS = 3  # restarts that go on beyond their short run
SAMPLE_ROWS = 20_000  # size of the first sample
STEP = 8  # ratio of the sizes of one sample and the next
SAMPLE_PASSES = 200  # most passes of a run over one sample
UNDECIDED = 1e-3  # tolerance on n rows over their sampling error, params / (2 n) nats per row. Early estimates of the
# remaining gain may be a hundredth of the true gain.
RIVAL = 1.5  # nats per row, over √n: a survivor that is farther behind the best on n rows is given up
HOPE = 10  # a run is given up if HOPE times its estimated remaining gain leaves it behind
TWIN = 1e-6  # nats per row: runs whose log-likelihoods are closer have found the same optimum
ALIKE = 0.05  # of params / (2 n): runs that are closer on n rows, with similar weights, are in one flat valley
WEIGHT = 0.02  # greatest difference of similar weights


@dataclass
class Heat:
    """Runs on the same rows, and their progress.

    short: whether each begins with a short run. begun: whether the short runs have begun. order: indices of the runs
    in the order in which they are followed to the end; None before that. first: index in `order` of the first run
    that is followed now.
    """

    runs: list[Run] = field(default_factory=list)
    short: bool = False
    begun: bool = False
    order: list[int] | None = None
    first: int = 0

    @property
    def batch(self) -> list[Run]:
        """The runs that are followed now."""
        return [self.runs[i] for i in (self.order or [])[self.first : self.first + FINALISTS]]

    @property
    def followed(self) -> list[Run]:
        """The runs that are followed now or were followed before."""
        return [self.runs[i] for i in (self.order or [])[: self.first + FINALISTS]]


@dataclass
class Progress:
    """Progress of a search between two readings. A search goes on from it as if it had never stopped.

    runs: one of every start. contenders: restarts that are not left behind. size: rows of the next sample; None if
    all rows are next. heat: the runs on all rows.
    """

    runs: list[Run]
    contenders: list[int] = field(default_factory=list)
    size: int | None = None
    heat: Heat | None = None

    def __post_init__(self) -> None:
        self.contenders = self.contenders or [run.restart for run in self.runs]
        if self.heat is not None:
            self.heat = replace(self.heat, runs=[self.runs[restart] for restart in self.contenders])

    def copy(self) -> Progress:
        """A copy that never changes: only the lists of a run are changed in place."""
        runs = [
            replace(run, history=[*run.history], resets=[*run.resets], answers=[*run.answers]) for run in self.runs
        ]
        return replace(self, runs=runs, contenders=[*self.contenders])


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
class Search:
    """The rules of a search.

    engine: makes the engine for an evaluator's rows. scout: a cheaper engine for short runs, or None. floor: of
    variances; a fit that reaches it is unsound. short: passes of a short run. parameters: number of free parameters
    of the model. prior: whether covariances have a prior. view: see Run.
    """

    engine: Callable[[Evaluator], Engine]
    scout: Engine | None
    floor: float
    short: int
    parameters: int
    limits: Limits
    listener: Listener | None
    begin: float
    on_collapse: Literal["reset", "drop", "error"] = "reset"
    prior: bool = False
    view: Callable[[Parameters], GaussianMixture] | None = None

    def run(
        self, starts: Callable[[], Task[Sequence[Parameters]]], evaluate: Evaluator, keeper: Keeper, *, samples: bool
    ) -> Task[list[Run]]:
        """A run of every start. Runs that did not end were left behind.

        starts: called if an earlier attempt saved nothing. samples: whether to begin on samples.
        """
        stage = Stage(self.engine(evaluate), evaluate, self.limits, self.listener, self.begin)
        progress = keeper.saved(evaluate.data.summary.fingerprint)
        if progress is None:
            first = yield from starts()
            progress = Progress([Run(restart, stage.engine.start(p)) for restart, p in enumerate(first)])
            progress.size = SAMPLE_ROWS if samples else None
        for run in progress.runs:
            run.view = self.view
        try:
            yield from self._all_rows(stage, progress, keeper)
        except BaseException:
            keeper.stopped()
            raise
        for run in progress.runs:
            unheard = run.restart not in progress.contenders
            if not run.ended:
                run.stop, unheard = LEFT_BEHIND, True
            if unheard:
                stage.hear(run)
        return progress.runs

    def _all_rows(self, stage: Stage, progress: Progress, keeper: Keeper) -> Task[None]:
        """Samples of growing size, then all rows. After each the progress can be saved."""
        evaluate, runs = stage.evaluate, progress.runs
        rows = evaluate.data.summary.rows
        sizes = sample_sizes(rows, evaluate.data.largest_sample)
        while progress.size is not None and progress.size in sizes:
            keeper.passed(progress)
            short = progress.size == SAMPLE_ROWS
            heat = Heat([runs[restart] for restart in progress.contenders], short)
            on_sample = yield from evaluate.sample(progress.size / rows)
            survivors = yield from self._on_sample(heat, on_sample)
            for run in survivors:
                run.state = stage.engine.start(run.state.parameters)
            progress.contenders = [run.restart for run in survivors]
            progress.size *= STEP
        progress.size = None
        if progress.heat is None:
            contenders = [runs[restart] for restart in progress.contenders]
            progress.heat = Heat(contenders, short=len(contenders) == len(runs))

        def passed() -> None:
            keeper.passed(progress)

        passed()
        yield from self._to_the_end(replace(stage, after_pass=passed), progress.heat)

    def flaw(self, run: Run, evaluate: Evaluator) -> Flaw | None:
        """The flaw of a run's mixture, or None (soundness.py)."""
        if run.failure is not None:
            return None
        return find_flaw(evaluate.family, run.state.parameters, self.floor, evaluate.data.summary.rows, self.prior)

    def _to_the_end(self, stage: Stage, heat: Heat, *, most: int | None = None) -> Task[list[Run]]:
        """Short runs of all if there are many, then the best few to the end, and further ones if none ends sound.

        most: passes over these rows after which a run is left as it is. Returns the runs that went beyond a short run
        and did not fail.
        """
        evaluate = stage.evaluate
        if heat.order is None:
            if heat.short and len(heat.runs) > FINALISTS:
                yield from self._short_runs(stage, heat)
            heat.order = rank(heat.runs, [self.flaw(run, evaluate) for run in heat.runs])
            for run in heat.runs:
                run.due = math.inf if most is None else run.passes + most * evaluate.share
        beaten = _ToBeat(lambda run: self.flaw(run, evaluate) is None)
        while heat.first < len(heat.order):
            for run in heat.followed:  # runs that ended in their short run, or before the fit was interrupted
                if run.ended and run.failure is None and run.stop != LEFT_BEHIND:
                    beaten(run)
            batch = heat.batch
            yield from run_all(stage, batch, beaten)
            while most is None and (again := (yield from self._mended(stage, batch))):
                yield from run_all(stage, again, beaten)
            if any(run.failure is None and self.flaw(run, evaluate) is None for run in batch):
                break
            heat.first += FINALISTS
        return [run for run in heat.followed if run.failure is None]

    def _mended(self, stage: Stage, runs: Sequence[Run]) -> Task[list[Run]]:
        """The runs that go on after a collapsed component was reset or dropped, as `on_collapse` says."""
        again = []
        for run in runs:
            if run.failure is not None or run.stop in (LEFT_BEHIND, TIME_LIMIT):
                continue
            flaw, p = self.flaw(run, stage.evaluate), run.state.parameters
            if flaw is None or flaw.component is None or p.components == 1:
                continue
            if run.passes >= stage.limits.iterations:
                continue
            if self.on_collapse == "error":
                remedies = (*flaw.remedies, Remedy("use", "on_collapse", "reset"))
                run.failure = NumericalError(flaw.reason, remedy=remedies)
                continue
            if self.on_collapse == "drop":
                p = without(p, flaw.component)
            elif len(run.resets) < RESETS:
                evaluate, key = stage.evaluate, f"restart {run.restart}, reset {len(run.resets)}"
                p = yield from reset(evaluate.data, evaluate.family, p, flaw.component, evaluate.seed, key)
                run.passes += evaluate.share
            else:
                continue
            run.resets.append(Reset(run.whole_passes, flaw.component, flaw.reason))
            run.state, run.stop, run.patience = stage.engine.start(p), None, 0
            again.append(run)
        return again

    def _short_runs(self, stage: Stage, heat: Heat) -> Task[None]:
        scout = stage.engine if self.scout is None else self.scout
        if not heat.begun:
            heat.begun = True
            for run in heat.runs:
                run.due = run.passes + self.short * stage.evaluate.share
                if scout is not stage.engine:
                    run.state = scout.start(run.state.parameters)
        yield from run_all(replace(stage, engine=scout), heat.runs)
        if scout is not stage.engine:
            for run in heat.runs:
                if not run.ended:
                    level = run.state.log_likelihood  # its rank until it has taken a step
                    run.state = replace(stage.engine.start(run.state.parameters), log_likelihood=level)

    def _on_sample(self, heat: Heat, evaluate: Evaluator) -> Task[list[Run]]:
        """The runs that go on with more rows, each from the parameters that it has reached on this sample.

        A fit may be unsound on a sample because the sample has too few rows. If it is ahead, it goes on from its
        start.
        """
        engine, rows, runs = self.engine(evaluate), evaluate.data.summary.rows, heat.runs
        began = {run.restart: run.state.parameters for run in runs}
        for run in runs:
            run.state = engine.start(run.state.parameters)
        undecided = self.parameters / (2 * rows)
        limits = replace(self.limits, tolerance=max(self.limits.tolerance, UNDECIDED * undecided))
        followed = yield from self._to_the_end(Stage(engine, evaluate, limits), heat, most=SAMPLE_PASSES)
        flaws = [self.flaw(run, evaluate) for run in runs]
        best = [(runs[i], flaws[i]) for i in rank(runs, flaws)]
        sound = [run for run, flaw in best if flaw is None and run in followed]
        unsound = [run for run, flaw in best if flaw is not None]
        kept, again = survivors(sound, unsound, RIVAL / math.sqrt(rows), ALIKE * undecided)
        for run in again:
            run.state = engine.start(began[run.restart])
        for run in runs:
            run.stop, run.patience, run.due = None, 0, math.inf
            run.history.clear()  # its log-likelihoods are of other rows
        return [*kept, *again]


def sample_sizes(rows: int, most: int) -> list[int]:
    """Sizes of the samples that come before all rows, each at most `most`."""
    sizes, size = [], SAMPLE_ROWS
    while size * STEP // 2 <= rows and size <= most:
        sizes.append(size)
        size *= STEP
    return sizes


class _ToBeat:
    """Whether a run is beaten by the sound runs that have ended.

    It is if HOPE times its estimated remaining gain leaves it lower than the best of them.
    """

    def __init__(self, sound: Callable[[Run], bool]):
        self._sound = sound
        self._highest = -math.inf

    def __call__(self, run: Run) -> bool:
        level = run.state.log_likelihood
        if run.ended:
            if level > self._highest and self._sound(run):
                self._highest = level
            return False
        return level + HOPE * run.state.remaining < self._highest


def survivors(sound: Sequence[Run], unsound: Sequence[Run], gap: float, alike: float) -> tuple[list[Run], list[Run]]:
    """The runs on a sample that go on: those from the parameters they have reached, and those from their start.

    sound, unsound: the runs, best first. An unsound run goes on from its start if it is ahead of all sound runs; one
    such run at least goes on. gap, alike: see `_rivals`.
    """
    kept = _rivals(sound, gap, alike)
    highest = kept[0].state.log_likelihood if kept else -math.inf
    ahead = _rivals([run for run in unsound if run.state.log_likelihood > highest], gap, alike)
    kept = kept[: FINALISTS - min(1, len(ahead))]
    return kept, ahead[: FINALISTS - len(kept)]


def _rivals(runs: Sequence[Run], gap: float, alike: float) -> list[Run]:
    """The runs, best first, that may still win: within `gap` of the best, one for each optimum."""
    kept: list[Run] = []
    for run in runs:
        near = run.state.log_likelihood > runs[0].state.log_likelihood - gap
        if near and not any(_twins(run, other, alike) for other in kept):
            kept.append(run)
    return kept


def _twins(a: Run, b: Run, alike: float) -> bool:
    """Whether two runs have found, or will find, the same optimum, by their log-likelihoods and weights."""
    apart = abs(a.state.log_likelihood - b.state.log_likelihood)
    to_come = a.state.remaining + b.state.remaining
    if math.isfinite(to_come) and apart < TWIN + 3 * to_come:
        return True
    weights = (run.state.parameters.weights.sort().values for run in (a, b))
    return apart < alike and float((next(weights) - next(weights)).abs().max()) < WEIGHT
