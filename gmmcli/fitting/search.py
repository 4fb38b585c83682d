"""Many starts, few that are followed to the end: short runs first, on a sample where the data is large.

Short runs from every start, then full ones of the most promising (Biernacki, Celeux & Govaert, "Choosing starting
values for the EM algorithm", Computational Statistics & Data Analysis 41, 2003). On large data this takes place on a
sample of the rows, and the survivors move on to samples STEP times as large, each until what it still gains is less
than what the sample leaves undecided, before they see all rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gmmcli.errors import NumericalError
from gmmcli.families.base import Parameters
from gmmcli.fitting.collapse import begun_again, without
from gmmcli.fitting.engine import Engine
from gmmcli.fitting.evaluate import Evaluator
from gmmcli.fitting.loop import Limits, Listener, Reset, Run, run_all
from gmmcli.fitting.soundness import Flaw, find_flaw, rank
from gmmcli.fitting.stopping import LEFT_BEHIND, TIME_LIMIT
from gmmcli.model.mixture import GaussianMixture

RESETS = 3  # of collapsed components that a restart begins again
FINALISTS = 3  # restarts that are carried beyond their short run
SAMPLE_ROWS = 20_000  # of the first sample
STEP = 8  # times as many rows in every further one
SAMPLE_PASSES = 200  # of a run on one sample
UNDECIDED = 1e-3  # of params / (2 n), what n rows leave undecided of the log-likelihood per row: early on, what a fit
# is estimated to gain may be a hundredth of what it will
RIVAL = 1.5  # nats per row, over √n: a survivor that is this far behind the best on n rows is given up
HOPE = 10  # times the estimated remaining gain that a run is believed to have before it
TWIN = 1e-6  # nats per row: runs whose log-likelihoods are this close have found the same optimum
ALIKE = 0.05  # of params / (2 n): runs this close on n rows, of about the same weights, are in one flat valley
WEIGHT = 0.02  # by which the weights of such runs differ at most


@dataclass
class Heat:
    """Runs on the same rows, and how far they are.

    short: whether they begin with a short run each, and begun: whether these have begun; places: of the runs, in the
    order in which they are followed to the end, None before that; first: of the places that are followed now.
    """

    runs: list[Run] = field(default_factory=list)
    short: bool = False
    begun: bool = False
    places: list[int] | None = None
    first: int = 0

    @property
    def batch(self) -> list[Run]:
        """The runs that are followed now."""
        return [self.runs[place] for place in (self.places or [])[self.first : self.first + FINALISTS]]

    @property
    def followed(self) -> list[Run]:
        """Those, and the ones before them."""
        return [self.runs[place] for place in (self.places or [])[: self.first + FINALISTS]]


@dataclass
class Standing:
    """How far a race is: what must be kept to go on with it as if it had never stopped.

    runs: one of every start; contenders: restarts that are not left behind; size: rows of the sample that comes next,
    None where all rows do; heat: that on all rows.
    """

    runs: list[Run]
    contenders: list[int] = field(default_factory=list)
    size: int | None = None
    heat: Heat | None = None

    def __post_init__(self) -> None:
        self.contenders = self.contenders or [run.restart for run in self.runs]
        if self.heat is not None:
            self.heat = replace(self.heat, runs=[self.runs[restart] for restart in self.contenders])

    def copy(self) -> Standing:
        """As it is now. States and what else is in a run are never changed in place, the lists of a run are."""
        runs = [
            replace(run, history=[*run.history], resets=[*run.resets], answers=[*run.answers]) for run in self.runs
        ]
        return replace(self, runs=runs, contenders=[*self.contenders])


class Keeper:
    """Where the standing of a race is kept; nowhere."""

    def kept(self) -> Standing | None:
        """What was kept of an earlier attempt."""
        return None

    def passed(self, standing: Standing) -> None:
        """Told after every pass, when the standing is one that can be kept."""

    def stopped(self) -> None:
        """Told when the race is given up, for whatever reason."""


@dataclass(frozen=True)
class Race:
    """What is raced and how.

    engine: makes the engine for an evaluator's rows; scout: that of short runs, where it is another, cheaper one;
    floor: of variances, below which a fit is unsound; short: passes of a short run; parameters: number of free
    parameters of the model; prior: whether covariances have one; view: see Run.
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
        self, starts: Callable[[], Sequence[Parameters]], evaluate: Evaluator, keeper: Keeper, *, samples: bool
    ) -> list[Run]:
        """A run of every start; those that did not end were left behind.

        starts: asked where nothing was kept of an earlier attempt. samples: whether to begin on samples.
        """
        engine = self.engine(evaluate)
        standing = keeper.kept()
        if standing is None:
            standing = Standing([Run(restart, engine.start(p)) for restart, p in enumerate(starts())])
            standing.size = SAMPLE_ROWS if samples else None
        for run in standing.runs:
            run.view = self.view
        try:
            self._all_rows(engine, standing, evaluate, keeper)
        except BaseException:
            keeper.stopped()
            raise
        for run in standing.runs:
            untold = run.restart not in standing.contenders
            if not run.ended:
                run.stop, untold = LEFT_BEHIND, True
            if untold and self.listener is not None:
                self.listener(run, time.monotonic() - self.begin)
        return standing.runs

    def _all_rows(self, engine: Engine, standing: Standing, evaluate: Evaluator, keeper: Keeper) -> None:
        """Samples first, each larger than the one before, then all rows; after each the standing is one to keep."""
        rows, runs = evaluate.data.summary.rows, standing.runs
        sizes = sample_sizes(rows, evaluate.data.largest_sample)
        while standing.size is not None and standing.size in sizes:
            keeper.passed(standing)
            short = standing.size == SAMPLE_ROWS
            heat = Heat([runs[restart] for restart in standing.contenders])
            kept = self._on_sample(heat, evaluate.sample(standing.size / rows), short=short)
            for run in kept:
                run.state = engine.start(run.state.parameters)
            standing.contenders = [run.restart for run in kept]
            standing.size *= STEP
        standing.size = None
        if standing.heat is None:
            contenders = [runs[restart] for restart in standing.contenders]
            standing.heat = Heat(contenders, short=len(contenders) == len(runs))

        def passed() -> None:
            keeper.passed(standing)

        passed()
        self._to_the_end(engine, standing.heat, evaluate, self.limits, self.listener, passed=passed)

    def flaw(self, run: Run, evaluate: Evaluator) -> Flaw | None:
        """Why the mixture of a run is not to be trusted, or None; see selection."""
        if run.failure is not None:
            return None
        return find_flaw(evaluate.family, run.state.parameters, self.floor, evaluate.data.summary.rows, self.prior)

    def _to_the_end(
        self,
        engine: Engine,
        heat: Heat,
        evaluate: Evaluator,
        limits: Limits,
        listener: Listener | None,
        *,
        most: int | None = None,
        passed: Callable[[], None] = lambda: None,
    ) -> list[Run]:
        """Short runs of all where there are many, then the best few to the end; further ones if none ends sound.

        most: passes over these rows after which a run is left as it is; passed: called after every pass. Returns the
        runs that went beyond a short one and did not fail.
        """
        how: Any = {"listener": listener, "begin": self.begin, "after_pass": passed}
        if heat.places is None:
            if heat.short and len(heat.runs) > FINALISTS:
                self._short_runs(engine, heat, evaluate, limits, how)
            heat.places = rank(heat.runs, [self.flaw(run, evaluate) for run in heat.runs])
            for run in heat.runs:
                run.due = math.inf if most is None else run.passes + most * evaluate.share
        beaten = _ToBeat(lambda run: self.flaw(run, evaluate) is None)
        while heat.first < len(heat.places):
            for run in heat.followed:  # those that ended in their short run, or before the fit was interrupted
                if run.ended and run.failure is None and run.stop is not LEFT_BEHIND:
                    beaten(run)
            batch = heat.batch
            run_all(engine, batch, evaluate, limits, beaten=beaten, **how)
            while most is None and (again := [run for run in batch if self._mended(run, engine, evaluate, limits)]):
                run_all(engine, again, evaluate, limits, beaten=beaten, **how)
            if any(run.failure is None and self.flaw(run, evaluate) is None for run in batch):
                break
            heat.first += FINALISTS
        return [run for run in heat.followed if run.failure is None]

    def _mended(self, run: Run, engine: Engine, evaluate: Evaluator, limits: Limits) -> bool:
        """Deals with a component that has collapsed, as `on_collapse` says; whether the run is to go on."""
        if run.failure is not None or run.stop in (LEFT_BEHIND, TIME_LIMIT) or run.passes >= limits.iterations:
            return False
        flaw, p = self.flaw(run, evaluate), run.state.parameters
        if flaw is None or flaw.component is None or p.components == 1:
            return False
        if self.on_collapse == "error":
            run.failure = NumericalError(f"{flaw.reason}: {flaw.remedy}, or --on-collapse reset")
            return False
        if self.on_collapse == "reset":
            if len(run.resets) >= RESETS:
                return False
            key = f"restart {run.restart}, reset {len(run.resets)}"
            p = begun_again(evaluate.data, evaluate.family, p, flaw.component, evaluate.seed, key, evaluate.threads)
            run.passes += evaluate.share
        else:
            p = without(p, flaw.component)
        run.resets.append(Reset(run.whole_passes, flaw.component, flaw.reason))
        run.state, run.stop, run.patience = engine.start(p), None, 0
        return True

    def _short_runs(self, engine: Engine, heat: Heat, evaluate: Evaluator, limits: Limits, how: Any) -> None:
        scout = engine if self.scout is None else self.scout
        if not heat.begun:
            heat.begun = True
            for run in heat.runs:
                run.due = run.passes + self.short * evaluate.share
                if scout is not engine:
                    run.state = scout.start(run.state.parameters)
        run_all(scout, heat.runs, evaluate, limits, **how)
        if scout is not engine:
            for run in heat.runs:
                if not run.ended:
                    level = run.state.log_likelihood  # what it is ranked by until it has taken a step
                    run.state = replace(engine.start(run.state.parameters), log_likelihood=level)

    def _on_sample(self, heat: Heat, evaluate: Evaluator, *, short: bool) -> list[Run]:
        """The runs to go on with on more rows, each where this sample brings it.

        A fit that is unsound on a sample may be so for want of rows: if it is ahead it goes on from where it began.
        """
        engine, rows, runs = self.engine(evaluate), evaluate.data.summary.rows, heat.runs
        heat.short = short
        began = {run.restart: run.state.parameters for run in runs}
        for run in runs:
            run.state = engine.start(run.state.parameters)
        undecided = self.parameters / (2 * rows)
        limits = replace(self.limits, tolerance=max(self.limits.tolerance, UNDECIDED * undecided))
        followed = self._to_the_end(engine, heat, evaluate, limits, None, most=SAMPLE_PASSES)
        flaws = [self.flaw(run, evaluate) for run in runs]
        best = [(runs[place], flaws[place]) for place in rank(runs, flaws)]
        sound = [run for run, flaw in best if flaw is None and run in followed]
        unsound = [run for run, flaw in best if flaw is not None]
        kept, again = survivors(sound, unsound, RIVAL / math.sqrt(rows), ALIKE * undecided)
        for run in again:
            run.state = engine.start(began[run.restart])
        for run in runs:
            run.stop, run.patience, run.due = None, 0, math.inf
            run.history.clear()  # of other rows: not to be compared with what follows
        return [*kept, *again]


def sample_sizes(rows: int, most: int) -> list[int]:
    """Rows of the samples that come before all of so many rows, none of more than `most`."""
    sizes, size = [], SAMPLE_ROWS
    while size * STEP // 2 <= rows and size <= most:
        sizes.append(size)
        size *= STEP
    return sizes


class _ToBeat:
    """Whether a run can still win against those that have ended, of which only sound ones count.

    A run has no hope when HOPE times what it may still gain, by its own estimate, leaves it lower.
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
    """Of runs on a sample, both kinds the best first, those to go on with: where they are, and from their beginning.

    An unsound one begins again where it is ahead of all sound ones; there is room for one at least. gap, alike: see
    `_rivals`.
    """
    kept = _rivals(sound, gap, alike)
    highest = kept[0].state.log_likelihood if kept else -math.inf
    ahead = _rivals([run for run in unsound if run.state.log_likelihood > highest], gap, alike)
    kept = kept[: FINALISTS - min(1, len(ahead))]
    return kept, ahead[: FINALISTS - len(kept)]


def _rivals(runs: Sequence[Run], gap: float, alike: float) -> list[Run]:
    """Of runs in order, the best first, those that may still win: within `gap` of the best, one of each optimum."""
    kept: list[Run] = []
    for run in runs:
        near = run.state.log_likelihood > runs[0].state.log_likelihood - gap
        if near and not any(_twins(run, other, alike) for other in kept):
            kept.append(run)
    return kept


def _twins(a: Run, b: Run, alike: float) -> bool:
    """Whether two runs have found, or will find, the same optimum: by log-likelihood, or by that and weights."""
    apart = abs(a.state.log_likelihood - b.state.log_likelihood)
    to_come = a.state.remaining + b.state.remaining
    if math.isfinite(to_come) and apart < TWIN + 3 * to_come:
        return True
    weights = (run.state.parameters.weights.sort().values for run in (a, b))
    return apart < alike and float((next(weights) - next(weights)).abs().max()) < WEIGHT
