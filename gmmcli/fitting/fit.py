"""A fit from end to end: survey, layout, starts, search, choice of the best restart, and the result in data units.

- `fit_task`: the task of a fit to blocks. `fit_rows`: the task of a fit to rows that are surveyed already.
- `run`: runs a task of fits.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from gmmcli.errors import InputError, Notice, NumericalError, Remedy, RowsError, Word
from gmmcli.families import get_family
from gmmcli.families.base import Family, Parameters
from gmmcli.families.linear import Affine
from gmmcli.fitting import starts as initialise
from gmmcli.fitting.acceleration import ENGINES
from gmmcli.fitting.assessment import ScoreHistogram, certainty
from gmmcli.fitting.em import EM
from gmmcli.fitting.engine import Engine, Evaluator, Request
from gmmcli.fitting.loop import ROUNDING, Limits, Listener, Run
from gmmcli.fitting.objective import Objective, Prior
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult, RestartResult
from gmmcli.fitting.rows import LAYING_OUT, SURVEY, SurveyedRows, survey_rows, threads_of
from gmmcli.fitting.search import Keeper, Search
from gmmcli.fitting.soundness import heaviest_first, rank
from gmmcli.fitting.stopping import LEFT_BEHIND
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.coordinates import LEAVE_OUT, Coordinates
from gmmcli.passes.device import float32_products
from gmmcli.passes.execution import HERE, Execution
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import Task, drive, read
from gmmcli.passes.sums import SufficientStatistics
from gmmcli.passes.workers import map_blocks
from gmmcli.storage.names import listing

R = TypeVar("R")
NOISE_SHARE = 0.05  # share of the rows in a background at the start
SIDE_BY_SIDE = 2000  # least rows of a sample whose starts are made by a worker each

Given = GaussianMixture | Sequence[GaussianMixture] | Tensor | None  # where a fit starts


def run(task: Task[R], options: FitOptions) -> R:
    """The result of a task of fits with these options: their threads, and their precision of products."""
    with float32_products(options.precision):
        return drive(task, threads_of(options))


def fit_task(
    blocks: Iterable[Block],
    options: FitOptions,
    *,
    columns: Sequence[str] | None = None,
    start: Given = None,
    listener: Listener | None = None,
    keeper: Keeper | None = None,
    execution: Execution = HERE,
) -> Task[FitResult]:
    """The fit of a mixture to blocks of rows.

    columns: names of the columns, for messages and for the model. start, listener, keeper: see `fit_rows`.
    """
    begin = time.monotonic()
    family = get_family(options.family)
    rows = yield from survey_rows(
        blocks, options, columns, most=options.components, families=[family], execution=execution
    )
    return (
        yield from fit_rows(
            rows,
            options,
            start=start,
            listener=listener,
            keeper=keeper,
            begin=begin,
            readings=SURVEY + LAYING_OUT,
        )
    )


def fit_rows(
    rows: SurveyedRows,
    options: FitOptions,
    *,
    start: Given = None,
    listener: Listener | None = None,
    keeper: Keeper | None = None,
    begin: float | None = None,
    readings: int = 0,
) -> Task[FitResult]:
    """The fit of a mixture to surveyed rows; their device, precision and standardisation are those of the survey.

    start: a model to go on from, or several, or means (K, D) in data units, if options.init is "given". listener:
    called after every step of every restart. keeper: saves the progress of the search. begin: time.monotonic() at the
    start of the work. readings: readings of the data before, which count as passes of this fit.

    Raises RowsError for data that cannot be fitted, NumericalError when every restart failed.
    """
    begin = time.monotonic() if begin is None else begin
    family = get_family(options.family)
    components, summary = options.components, rows.summary
    if summary.distinct < components:
        raise RowsError(
            f"{components} components for {summary.distinct} distinct rows",
            kind="more components than distinct rows",
            remedy=Remedy("lower", "components", purpose=f"to {summary.distinct} or less"),
        )
    yield from rows.laid_out(family)
    coordinates, data = rows.of(family)
    if options.noise and summary.constant:
        raise RowsError(
            "all values are equal, so that a background has no volume",
            subject=f"column {listing([rows.names[d] for d in summary.constant])}",
            remedy=LEAVE_OUT,
        )
    scale = None
    if not family.learned:
        given = 1.0 if options.variance is None else options.variance
        scale = torch.full((1,), given, dtype=torch.float64) / coordinates.scale_of_variance()

    def starts() -> Task[list[Parameters]]:
        made = yield from _starts(data, family, options, start, scale, rows.threads)
        if not options.noise:
            return made
        known = start.background if isinstance(start, GaussianMixture) else None
        share = torch.tensor(NOISE_SHARE, dtype=torch.float64) if known is None else known.detach().cpu()
        return [p.beside(share) for p in made]

    evaluate = Evaluator(data, family, options.seed, _batches(options, summary.rows))
    prior = Prior.default(components, data.dims) if options.prior else None
    objective = Objective(family, options.floor, prior, summary.weight)
    search = Search(
        engine=lambda part: _engine(objective, options, part.batches),
        scout=EM(objective) if options.method == "em" else None,
        floor=options.floor,
        short=options.short_passes,
        parameters=family.parameter_count(components, data.dims) + 2 * options.noise,
        limits=Limits(options.passes, options.tolerance, rows.execution.late),
        listener=listener,
        begin=begin,
        on_collapse=options.on_collapse,
        prior=options.prior,
        view=lambda p: _mixture(p, family, coordinates, rows),
    )
    runs = yield from search.run(starts, evaluate, keeper or Keeper(), samples=start is None)
    return (yield from _result(runs, search, objective, evaluate, coordinates, options, rows, readings))


def _batches(options: FitOptions, rows: int) -> int:
    return 1 if options.batch_size is None else math.ceil(rows / options.batch_size)


def _engine(objective: Objective, options: FitOptions, batches: int) -> Engine:
    if options.method == "em":
        return ENGINES[options.accelerated_by or "none"](objective)
    from gmmcli.fitting.gradient import LBFGS, Adam  # torch.optim costs EM's start-up a second

    if options.optimizer == "lbfgs":
        return LBFGS(objective)
    return Adam(objective, options.mixture_rate, options.component_rate, options.passes, batches)


def _starts(
    data: PreparedData,
    family: Family,
    options: FitOptions,
    start: Given,
    scale: Tensor | None,
    threads: int,
) -> Task[list[Parameters]]:
    if isinstance(start, GaussianMixture):
        start = [start]
    if isinstance(start, Sequence):
        for model in start:
            if (model.components, model.dims) != (options.components, data.dims):
                raise InputError(
                    f"the starting model has {model.components} components of {model.dims} columns, and the fit "
                    f"{options.components} of {data.dims}"
                )
        return [_warm_start(model, data.affine, family, scale) for model in start]
    sample = yield from initialise.draw_sample(data, options.seed)
    if isinstance(start, Tensor):
        if tuple(start.shape) != (options.components, data.dims):
            raise InputError(
                f"the starting means are {start.shape[0]} rows of {start.shape[1]} columns, and the fit has "
                f"{options.components} components of {data.dims}"
            )
        centres = data.summary.scores(start.double())
        return [initialise.from_centres(sample, family, centres, scale, options.floor)]

    def one(restart: int) -> Parameters:
        make = initialise.start_named(options.init, restart)
        return make(sample, family, options.components, options.seed + restart, scale, options.floor)

    return list(map_blocks(one, range(options.restart_count), threads if len(sample.rows) > SIDE_BY_SIDE else 1))


def _warm_start(model: GaussianMixture, affine: Affine, family: Family, scale: Tensor | None) -> Parameters:
    """A model's moments in the coordinates of the fit, as the nearest mixture of the family."""
    weights, means, covariances = (t.detach().double().cpu() for t in (model.weights, model.means, model.covariances))
    weights = weights / weights.sum()  # of the components alone
    p = family.from_moments(weights, affine.inner(means), affine.inverse_congruence(covariances))
    return p if scale is None else dataclasses.replace(p, scale=scale)


def _result(
    runs: list[Run],
    search: Search,
    objective: Objective,
    evaluate: Evaluator,
    coordinates: Coordinates,
    options: FitOptions,
    rows: SurveyedRows,
    readings: int,
) -> Task[FitResult]:
    """Evaluates the mixture of every restart in one closing pass, and keeps the best."""
    family, data, summary = evaluate.family, evaluate.data, evaluate.data.summary
    final = yield from _closing_pass(runs, objective, evaluate)
    flaws = [search.flaw(run, evaluate) for run in runs]
    unsound = [None if flaw is None else flaw.reason for flaw in flaws]
    index = rank(runs, flaws)[0]
    best = runs[index]
    p, order = best.state.parameters, heaviest_first(best.state.parameters)
    model = _mixture(p.order(order), family, coordinates, rows)
    offset = data.log_volume * summary.weight
    assert best.stop is not None
    level = final[best.restart].mean_log_likelihood - data.log_volume
    scores = yield from read(data.reading(lambda: ScoreHistogram(data, family, p, level)))
    certain = yield from certainty(data, family, p.order(order), options.seed)
    return FitResult(
        model=model,
        options=options,
        history=best.history,
        stop=best.stop,
        restart=best.restart,
        restarts=[
            _summary(run, final.get(run.restart), unsound[run.restart], offset, summary.weight, rows.execution.word)
            for run in runs
        ],
        rows=summary.rows,
        weight=summary.weight,
        log_likelihood=final[best.restart].mean_log_likelihood * summary.weight - offset,
        entropy=(final[best.restart].entropy or 0.0) * summary.weight_unit,
        remaining=best.state.remaining,
        flaw=flaws[index],
        passes=math.ceil(sum(run.passes for run in runs) - ROUNDING) + len(final) + readings,
        seconds=time.monotonic() - search.begin,
        device=str(data.device),
        precision="tf32" if options.precision == "tf32" else str(data.dtype).removeprefix("torch."),
        survey=summary,
        scores=scores,
        certainty=certain,
        order=order.tolist(),
        word=rows.execution.word,
    )


def _mixture(p: Parameters, family: Family, coordinates: Coordinates, rows: SurveyedRows) -> GaussianMixture:
    """Parameters of the fit as a mixture in data units."""
    p = coordinates.to_model(family, p)
    if not all(bool(t.isfinite().all()) for t in (p.weights, p.means, p.scale)):
        raise NumericalError("the fitted parameters overflow in the units of the data", remedy="rescale the columns")
    return GaussianMixture(
        p.weights,
        p.means,
        p.scale,
        family.name,
        columns=rows.names,
        shift=coordinates.model.shift if coordinates.standardised else None,
        std=coordinates.model.factor if coordinates.standardised else None,
        background=p.background,
        box=None if p.background is None else torch.stack([rows.summary.minimum, rows.summary.maximum]),
    )


def _closing_pass(
    runs: Sequence[Run], objective: Objective, evaluate: Evaluator
) -> Task[dict[int, SufficientStatistics]]:
    """Statistics, with entropy, of the mixture of each restart that ended, by restart.

    Restarts that were left behind are not evaluated. Raises NumericalError if no restart is left.
    """
    alive = [run for run in runs if run.failure is None and run.stop is not LEFT_BEHIND]
    final: dict[int, SufficientStatistics] = {}
    if alive:
        answers = yield from evaluate([Request(run.state.parameters) for run in alive], entropy=True)
        for run, answer in zip(alive, answers, strict=True):
            if isinstance(answer, NumericalError):
                run.failure = answer
            else:
                final[run.restart] = answer
                level = objective.value(answer, run.state.parameters)
                run.state = dataclasses.replace(run.state, log_likelihood=level)
    if not final:
        first = runs[0].failure
        assert first is not None
        raise NumericalError(
            f"every restart failed, the first with: {Notice(first.notice.problem, first.notice.subject)}",
            kind="every restart failed",
            remedy=first.notice.remedies or (Remedy("raise", "variance_floor"), Remedy("lower", "components")),
        )
    return final


def _summary(
    run: Run, final: SufficientStatistics | None, unsound: str | None, offset: float, weight: float, word: Word
) -> RestartResult:
    log_likelihood = math.nan if final is None else final.mean_log_likelihood * weight - offset
    if final is None and run.history:
        log_likelihood = run.history[-1].log_likelihood * weight
    return RestartResult(
        restart=run.restart,
        log_likelihood=log_likelihood,
        passes=run.whole_passes,
        stop="failed" if run.stop is None else run.stop.name,
        unsound=unsound,
        failure=None if run.failure is None else run.failure.worded(word),
        resets=run.resets,
    )
