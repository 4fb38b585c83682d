"""A fit from end to end: survey, layout, starts, search, choice of the best restart, and the result in data units.

- `fit_task`: the task of a fit to blocks. `fit_rows`: the task of a fit to rows that are surveyed already.
- `run`: runs a task of fits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from gmmcli.errors import InputError, Remedy, RowsError
from gmmcli.families import get_family
from gmmcli.families.affine import Affine
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.engine import Evaluator
from gmmcli.fitting.loop import ROUNDING, Keeper, Limits, Listener, Run
from gmmcli.fitting.objective import Objective, Prior
from gmmcli.fitting.options import VARIANCE_FLOOR, FitOptions
from gmmcli.fitting.result import FitResult, RestartResult, ScoreHistogram, certainty, closing_pass
from gmmcli.fitting.rows import READINGS, SurveyedRows, survey_rows, threads_of
from gmmcli.fitting.search import Search
from gmmcli.fitting.soundness import heaviest_first, rank
from gmmcli.fitting.starts import STARTS, Starter, draw_sample, start_name
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.coordinates import LEAVE_OUT
from gmmcli.passes.device import float32_products
from gmmcli.passes.execution import HERE, Execution
from gmmcli.passes.reading import Task, drive, read
from gmmcli.passes.workers import map_blocks
from gmmcli.storage.names import listing

R = TypeVar("R")
NOISE_SHARE = 0.05  # share of the rows in a background at the start
SIDE_BY_SIDE = 2000  # least rows of a sample whose starts are made by a worker each

Given = GaussianMixture | Sequence[GaussianMixture] | Tensor | None  # a start; None for random ones


def run(task: Task[R], options: FitOptions) -> R:
    """The result of a task of fits, with the threads and the precision of products of these options."""
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
    rows = yield from survey_rows(
        blocks, options, columns, most=options.components, families=[get_family(options.family)], execution=execution
    )
    result = yield from fit_rows(rows, options, start=start, listener=listener, keeper=keeper, begin=begin)
    return replace(result, passes=result.passes + READINGS)


def fit_rows(
    rows: SurveyedRows,
    options: FitOptions,
    *,
    start: Given = None,
    listener: Listener | None = None,
    keeper: Keeper | None = None,
    begin: float | None = None,
) -> Task[FitResult]:
    """The fit of a mixture to surveyed rows; their device, precision and standardisation are those of the survey.

    start: a model to go on from, or several, or means (K, D) in data units, if options.init is "given". listener:
    called after every step of every restart. keeper: saves the progress of the search. begin: time.monotonic() at the
    start of the work.

    Raises RowsError for data that cannot be fitted, NumericalError when every restart failed.
    """
    begin = time.monotonic() if begin is None else begin
    family, summary = get_family(options.family), rows.summary
    if summary.distinct < options.components:
        raise RowsError(
            f"{options.components} components for {summary.distinct} distinct rows",
            kind="more components than distinct rows",
            remedy=Remedy("lower", "components", purpose=f"to {summary.distinct} or less"),
        )
    yield from rows.laid_out(family)
    if options.noise and summary.constant:
        raise RowsError(
            "all values are equal, so that a background has no volume",
            subject=f"column {listing([rows.names[d] for d in summary.constant])}",
            remedy=LEAVE_OUT,
        )

    def hear(run: Run) -> None:
        if listener is not None:
            listener(run, time.monotonic() - begin)

    coordinates, data = rows.of(family)
    batches = 1 if options.batch_size is None else math.ceil(summary.rows / options.batch_size)
    evaluate = Evaluator(data, family, options.seed, batches)
    prior = Prior.default(options.components, data.dims) if options.prior else None
    objective = Objective(family, options.variance_floor or VARIANCE_FLOOR, prior, summary.weight)
    limits = Limits(options.passes, options.tolerance, rows.execution.late)
    search = Search(options, objective, limits, hear, partial(rows.mixture, family, coordinates))
    starts = partial(_starts, rows, objective, options, start)
    runs = yield from search.run(starts, evaluate, keeper or Keeper(), samples=start is None)
    return (yield from _result(runs, search, evaluate, rows, begin))


def _starts(rows: SurveyedRows, objective: Objective, options: FitOptions, start: Given) -> Task[list[Parameters]]:
    """A starting mixture for every restart, in the coordinates of the fit."""
    family, scale = objective.family, None
    coordinates, data = rows.of(family)
    if not family.learned:
        variance = 1.0 if options.variance is None else options.variance
        scale = torch.full((1,), variance, dtype=torch.float64) / coordinates.scale_of_variance()
    if start is None or isinstance(start, Tensor):
        sample = yield from draw_sample(data, options.seed)
        starter = Starter(sample, family, options.components, scale, objective.floor)

        def random(restart: int) -> Parameters:
            return STARTS[start_name(options.init, restart)](starter, options.seed + restart)

        if start is None:
            threads = threads_of(options) if len(sample.rows) > SIDE_BY_SIDE else 1
            made = list(map_blocks(random, range(options.restart_count), threads))
        else:
            _check_shape(start.shape, options.components, data.dims)
            made = [starter.from_centres(data.summary.scores(start.double()))]
    else:
        models = [start] if isinstance(start, GaussianMixture) else start
        for model in models:
            _check_shape(model.inner_means.shape, options.components, data.dims)
        made = [_warm_start(model, data.affine, family, scale) for model in models]
    if not options.noise:
        return made
    known = start.background if isinstance(start, GaussianMixture) else None
    share = torch.tensor(NOISE_SHARE, dtype=torch.float64) if known is None else known.detach().cpu()
    return [p.beside(share) for p in made]


def _check_shape(means: Sequence[int], components: int, dims: int) -> None:
    if tuple(means) != (components, dims):
        raise InputError(
            f"the start has {means[0]} components of {means[1]} columns, and the fit {components} of {dims}"
        )


def _warm_start(model: GaussianMixture, affine: Affine, family: Family, scale: Tensor | None) -> Parameters:
    """A model's moments in the coordinates of the fit, as the nearest mixture of the family."""
    weights, means, covariances = (t.detach().double().cpu() for t in (model.weights, model.means, model.covariances))
    weights = weights / weights.sum()  # a background may have the rest
    p = family.from_moments(weights, affine.inner(means), affine.inverse_congruence(covariances))
    return p if scale is None else replace(p, scale=scale)


def _result(
    runs: list[Run], search: Search, evaluate: Evaluator, rows: SurveyedRows, begin: float
) -> Task[FitResult]:
    """The result of the best restart, after the closing readings."""
    options, family, data, summary = search.options, evaluate.family, evaluate.data, rows.summary
    final = yield from closing_pass(runs, search.objective, evaluate)
    flaws = {run: search.flaw(run, evaluate) for run in runs}
    best = rank(flaws)[0]
    statistics = final[best.restart]
    p, order = best.state.parameters, heaviest_first(best.state.parameters)
    model = search.view(p.order(order))
    assert best.stop is not None
    centre = statistics.mean_log_likelihood - data.log_volume
    scores = yield from read(data.reading(lambda: ScoreHistogram(data, family, p, centre)))
    certain = yield from certainty(data, family, p.order(order), options.seed)
    offset = data.log_volume * summary.weight

    def restart(run: Run) -> RestartResult:
        level, flaw = math.nan, flaws[run]
        if run.restart in final:
            level = final[run.restart].mean_log_likelihood * summary.weight - offset
        elif run.history:
            level = run.history[-1].log_likelihood * summary.weight
        return RestartResult(
            restart=run.restart,
            log_likelihood=level,
            passes=run.whole_passes,
            stop="failed" if run.stop is None else run.stop.name,
            unsound=None if flaw is None else flaw.reason,
            failure=None if run.failure is None else run.failure.worded(rows.execution.word),
            resets=run.resets,
        )

    restarts = [restart(run) for run in runs]
    return FitResult(
        model=model,
        options=options,
        history=best.history,
        stop=best.stop,
        restart=best.restart,
        restarts=restarts,
        rows=summary.rows,
        weight=summary.weight,
        log_likelihood=restarts[best.restart].log_likelihood,
        entropy=(statistics.entropy or 0.0) * summary.weight_unit,
        remaining=best.state.remaining,
        flaw=flaws[best],
        passes=math.ceil(sum(run.passes for run in runs) - ROUNDING) + len(final),
        seconds=time.monotonic() - begin,
        device=str(data.device),
        precision="tf32" if options.precision == "tf32" else str(data.dtype).removeprefix("torch."),
        survey=summary,
        scores=scores,
        certainty=certain,
        order=order.tolist(),
        word=rows.execution.word,
    )
