"""The search over starts: short runs of all, full runs of the best few, and on large data on samples first.

Short runs from every start come first, then full runs of the most promising (Biernacki, Celeux & Govaert, "Choosing
starting values for the EM algorithm", Computational Statistics & Data Analysis 41, 2003). Large data is searched on a
sample of the rows. The survivors move on to samples STEP times as large, and last to all rows. On a sample a run goes
on until its gains are smaller than the sampling error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gmmcli.errors import NumericalError, Remedy
from gmmcli.families.base import Parameters
from gmmcli.fitting.acceleration import ENGINES
from gmmcli.fitting.em import EM
from gmmcli.fitting.engine import Engine, Evaluator
from gmmcli.fitting.loop import Heat, Keeper, Limits, Progress, Reset, Run, Stage, run_all
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.options import COMPONENT_LR, MIXTURE_LR, SHORT_PASSES, FitOptions
from gmmcli.fitting.soundness import Flaw, find_flaw, rank, reset, without
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
ALIKE = 0.05  # share of params / (2 n): runs that are closer on n rows, with similar weights, are in one flat valley
WEIGHT = 0.02  # greatest difference of similar weights


@dataclass(frozen=True)
class Search:
    """The rules of a search.

    limits: of every run. hear: called after every step and at the end of a run. view: see Run.
    """

    options: FitOptions
    objective: Objective
    limits: Limits
    hear: Callable[[Run], None]
    view: Callable[[Parameters], GaussianMixture]

    def run(
        self, starts: Callable[[], Task[Sequence[Parameters]]], evaluate: Evaluator, keeper: Keeper, *, samples: bool
    ) -> Task[list[Run]]:
        """A run of every start. Runs that did not end were left behind.

        starts: called if no progress is saved. samples: whether to begin on samples.
        """
        stage = Stage(self._engine(evaluate), evaluate, self.limits, self.hear)
        progress = keeper.saved(evaluate.data.summary.fingerprint)
        if progress is None:
            first = yield from starts()
            runs = [Run(restart, stage.engine.start(p)) for restart, p in enumerate(first)]
            progress = Progress(runs, Heat(runs), SAMPLE_ROWS if samples else 0)
        for run in progress.runs:
            run.view = self.view
        try:
            yield from self._all_rows(stage, progress, keeper)
        except BaseException:
            keeper.stopped()
            raise
        for run in progress.runs:
            unheard = run not in progress.heat.runs
            if not run.ended:
                run.stop, unheard = LEFT_BEHIND, True
            if unheard:
                self.hear(run)
        return progress.runs

    def _all_rows(self, stage: Stage, progress: Progress, keeper: Keeper) -> Task[None]:
        """Samples of growing size, then all rows. After each the progress can be saved."""
        evaluate, rows = stage.evaluate, stage.evaluate.data.summary.rows
        while progress.size in sample_sizes(rows, evaluate.data.largest_sample):
            keeper.passed(progress)
            on_sample = yield from evaluate.sample(progress.size / rows)
            survivors = yield from self._on_sample(progress.heat, on_sample)
            for run in survivors:
                run.state = stage.engine.start(run.state.parameters)
            progress.heat = Heat(survivors)
            progress.size *= STEP

        def passed() -> None:
            keeper.passed(progress)

        passed()
        yield from self._to_the_end(replace(stage, after_pass=passed), progress.heat)

    def flaw(self, run: Run, evaluate: Evaluator) -> Flaw | None:
        """The flaw of a run's mixture; None if there is none, or if the run failed."""
        if run.failure is not None:
            return None
        rows, objective = evaluate.data.summary.rows, self.objective
        return find_flaw(objective.family, run.state.parameters, objective.floor, rows, self.options.prior)

    def _engine(self, evaluate: Evaluator) -> Engine:
        """The engine for an evaluator's rows."""
        options = self.options
        if options.method == "em":
            return ENGINES[options.accelerated_by or "none"](self.objective)
        from gmmcli.fitting.gradient import LBFGS, Adam  # torch.optim costs EM's start-up a second

        if options.optimizer == "lbfgs":
            return LBFGS(self.objective)
        rates = options.mixture_lr or MIXTURE_LR, options.component_lr or COMPONENT_LR
        return Adam(self.objective, *rates, options.passes, evaluate.batches)

    def _to_the_end(self, stage: Stage, heat: Heat, *, most: int | None = None) -> Task[list[Run]]:
        """Short runs of all if there are many, then the best few to the end, and further ones if none ends sound.

        most: passes over these rows after which a run stops where it is. Returns the runs that went beyond a short
        run and did not fail.
        """
        evaluate = stage.evaluate
        if not heat.order:
            if len(heat.runs) > FINALISTS:
                yield from self._short_runs(stage, heat)
            heat.order = rank({run: self.flaw(run, evaluate) for run in heat.runs})
            for run in heat.runs:
                run.due = math.inf if most is None else run.passes + most * evaluate.share
        highest = -math.inf  # log-likelihood of the sound runs that have ended

        def beaten(run: Run) -> bool:
            """Whether HOPE times its estimated remaining gain would leave the run below one that has ended."""
            nonlocal highest
            level = run.state.log_likelihood
            if run.ended and level > highest and self.flaw(run, evaluate) is None:
                highest = level
            return not run.ended and level + HOPE * run.state.remaining < highest

        followed: list[Run] = []  # followed now or before
        while heat.first < len(heat.order):
            followed = heat.order[: heat.first + FINALISTS]
            for run in followed:  # runs that ended in their short run, or before the fit was interrupted
                if run.ended and run.failure is None and run.stop != LEFT_BEHIND:
                    beaten(run)
            batch = followed[heat.first :]
            yield from run_all(stage, batch, beaten)
            while most is None and (again := (yield from self._mended(stage, batch))):
                yield from run_all(stage, again, beaten)
            if any(run.failure is None and self.flaw(run, evaluate) is None for run in batch):
                break
            heat.first += FINALISTS
        return [run for run in followed if run.failure is None]

    def _mended(self, stage: Stage, runs: Sequence[Run]) -> Task[list[Run]]:
        """The runs that go on after a collapsed component was reset or dropped, as `on_collapse` says."""
        again = []
        for run in runs:
            if run.failure is not None or run.stop in (LEFT_BEHIND, TIME_LIMIT):
                continue
            flaw, p = self.flaw(run, stage.evaluate), run.state.parameters
            if flaw is None or flaw.component is None or p.components == 1 or run.passes >= self.limits.iterations:
                continue
            if self.options.on_collapse == "error":
                remedies = (*flaw.remedies, Remedy("use", "on_collapse", "reset"))
                run.failure = NumericalError(flaw.reason, remedy=remedies)
                continue
            if self.options.on_collapse == "drop":
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
        """Steps all runs for a few passes; by plain EM, if the method is EM."""
        options, by_em = self.options, self.options.method == "em"
        short = SHORT_PASSES["em" if by_em else options.optimizer or "adam"]
        engine = EM(self.objective) if by_em else stage.engine
        if not heat.begun:
            heat.begun = True
            for run in heat.runs:
                run.due = run.passes + short * stage.evaluate.share
                if by_em:
                    run.state = engine.start(run.state.parameters)
        yield from run_all(replace(stage, engine=engine), heat.runs)
        for run in heat.runs:
            if by_em and not run.ended:
                level = run.state.log_likelihood  # its rank until it has taken a step
                run.state = replace(stage.engine.start(run.state.parameters), log_likelihood=level)

    def _on_sample(self, heat: Heat, evaluate: Evaluator) -> Task[list[Run]]:
        """The runs that go on with more rows, each from the parameters that it has reached on this sample.

        A fit may be unsound on a sample because the sample has too few rows. If it is ahead, it goes on from its
        start.
        """
        engine, rows, runs = self._engine(evaluate), evaluate.data.summary.rows, heat.runs
        began = {run.restart: run.state.parameters for run in runs}
        for run in runs:
            run.state = engine.start(run.state.parameters)
        parameters = evaluate.family.parameter_count(self.options.components, evaluate.data.dims)
        undecided = (parameters + 2 * self.options.noise) / (2 * rows)
        limits = replace(self.limits, tolerance=max(self.limits.tolerance, UNDECIDED * undecided))
        followed = yield from self._to_the_end(Stage(engine, evaluate, limits), heat, most=SAMPLE_PASSES)
        flaws = {run: self.flaw(run, evaluate) for run in runs}
        best = rank(flaws)
        sound = [run for run in best if flaws[run] is None and run in followed]
        unsound = [run for run in best if flaws[run] is not None]
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


def survivors(sound: Sequence[Run], unsound: Sequence[Run], gap: float, alike: float) -> tuple[list[Run], list[Run]]:
    """The runs that go on after a sample: from the parameters that they have reached, and from their start.

    sound, unsound: the runs, best first. An unsound run goes on from its start if it is ahead of all sound runs. At
    least one such run goes on. gap, alike: see `_rivals`.
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
