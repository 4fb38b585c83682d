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
from dataclasses import dataclass, replace
from typing import Literal

from gmmcli.errors import NumericalError
from gmmcli.families.base import Parameters
from gmmcli.fitting.collapse import begun_again, without
from gmmcli.fitting.engine import Engine
from gmmcli.fitting.evaluate import Evaluator
from gmmcli.fitting.loop import Limits, Listener, Reset, Run, run_all
from gmmcli.fitting.selection import Flaw, find_flaw, rank
from gmmcli.fitting.stopping import LEFT_BEHIND
from gmmcli.mixture import GaussianMixture

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

    def run(self, starts: Sequence[Parameters], evaluate: Evaluator, *, samples: bool) -> list[Run]:
        """A run of every start; those that did not end were left behind. samples: whether to begin on samples."""
        engine = self.engine(evaluate)
        runs = [Run(restart, engine.start(p), view=self.view) for restart, p in enumerate(starts)]
        rows, size, contenders = evaluate.data.summary.rows, SAMPLE_ROWS, runs
        while samples and size * STEP // 2 <= rows and size <= evaluate.data.largest_sample:
            contenders = self._on_sample(contenders, evaluate.sample(size / rows), short=size == SAMPLE_ROWS)
            for run in contenders:
                run.state = engine.start(run.state.parameters)
            size *= STEP
        self._to_the_end(engine, contenders, evaluate, self.limits, self.listener, short=contenders is runs)
        for run in runs:
            untold = run not in contenders
            if not run.ended:
                run.stop, untold = LEFT_BEHIND, True
            if untold and self.listener is not None:
                self.listener(run, time.monotonic() - self.begin)
        return runs

    def flaw(self, run: Run, evaluate: Evaluator) -> Flaw | None:
        """Why the mixture of a run is not to be trusted, or None; see selection."""
        if run.failure is not None:
            return None
        return find_flaw(evaluate.family, run.state.parameters, self.floor, evaluate.data.summary.rows, self.prior)

    def _to_the_end(
        self,
        engine: Engine,
        runs: list[Run],
        evaluate: Evaluator,
        limits: Limits,
        listener: Listener | None,
        *,
        short: bool,
        most: int | None = None,
    ) -> list[Run]:
        """Short runs of all where there are many, then the best few to the end; further ones if none ends sound.

        most: passes after which a run is left as it is. Returns those that went beyond a short run and did not fail.
        """
        if short and len(runs) > FINALISTS:
            self._short_runs(engine, runs, evaluate, limits, listener)
        places = rank(runs, [self.flaw(run, evaluate) for run in runs])
        followed: list[Run] = []
        beaten = _ToBeat(lambda run: self.flaw(run, evaluate) is None)
        for first in range(0, len(places), FINALISTS):
            batch = [runs[place] for place in places[first : first + FINALISTS]]
            run_all(engine, batch, evaluate, limits, listener, self.begin, pause=most, beaten=beaten)
            while most is None and (again := [run for run in batch if self._mended(run, engine, evaluate, limits)]):
                run_all(engine, again, evaluate, limits, listener, self.begin, beaten=beaten)
            followed += [run for run in batch if run.failure is None]
            if any(run.failure is None and self.flaw(run, evaluate) is None for run in batch):
                break
        return followed

    def _mended(self, run: Run, engine: Engine, evaluate: Evaluator, limits: Limits) -> bool:
        """Deals with a component that has collapsed, as `on_collapse` says; whether the run is to go on."""
        if run.failure is not None or run.stop is LEFT_BEHIND or run.passes >= limits.iterations:
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

    def _short_runs(
        self, engine: Engine, runs: list[Run], evaluate: Evaluator, limits: Limits, listener: Listener | None
    ) -> None:
        scout = engine if self.scout is None else self.scout
        if scout is not engine:
            for run in runs:
                run.state = scout.start(run.state.parameters)
        run_all(scout, runs, evaluate, limits, listener, self.begin, pause=self.short)
        if scout is not engine:
            for run in runs:
                if not run.ended:
                    level = run.state.log_likelihood  # what it is ranked by until it has taken a step
                    run.state = replace(engine.start(run.state.parameters), log_likelihood=level)

    def _on_sample(self, runs: list[Run], evaluate: Evaluator, *, short: bool) -> list[Run]:
        """The runs to go on with on more rows, each where this sample brings it.

        A fit that is unsound on a sample may be so for want of rows: if it is ahead it goes on from where it began.
        """
        engine, rows = self.engine(evaluate), evaluate.data.summary.rows
        began = {run.restart: run.state.parameters for run in runs}
        for run in runs:
            run.state = engine.start(run.state.parameters)
        undecided = self.parameters / (2 * rows)
        limits = Limits(self.limits.iterations, max(self.limits.tolerance, UNDECIDED * undecided))
        followed = self._to_the_end(engine, runs, evaluate, limits, None, short=short, most=SAMPLE_PASSES)
        flaws = [self.flaw(run, evaluate) for run in runs]
        best = [(runs[place], flaws[place]) for place in rank(runs, flaws)]
        sound = [run for run, flaw in best if flaw is None and run in followed]
        unsound = [run for run, flaw in best if flaw is not None]
        kept, again = survivors(sound, unsound, RIVAL / math.sqrt(rows), ALIKE * undecided)
        for run in again:
            run.state = engine.start(began[run.restart])
        for run in runs:
            run.stop, run.patience = None, 0
            run.history.clear()  # of other rows: not to be compared with what follows
        return [*kept, *again]


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
