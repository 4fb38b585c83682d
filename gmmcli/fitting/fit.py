"""Fitting from end to end: survey, conditioning, starts, the loop, the choice, and the result in data units."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from gmmcli.errors import InputError, NumericalError
from gmmcli.families import get_family
from gmmcli.families.affine import Affine
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting import starts as initialise
from gmmcli.fitting.acceleration import ENGINES
from gmmcli.fitting.certainty import certainty
from gmmcli.fitting.em import EM
from gmmcli.fitting.engine import Engine, Request
from gmmcli.fitting.evaluate import Evaluator
from gmmcli.fitting.loop import ROUNDING, Limits, Listener, Run
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.prior import Prior
from gmmcli.fitting.result import FitResult, RestartResult
from gmmcli.fitting.rows import Coordinates, SurveyedRows
from gmmcli.fitting.scoring import score_rows
from gmmcli.fitting.search import Keeper, Race
from gmmcli.fitting.soundness import heaviest_first, rank
from gmmcli.fitting.stopping import LEFT_BEHIND
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.device import float32_products
from gmmcli.passes.execution import HERE, Execution
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.sums import SufficientStatistics
from gmmcli.passes.survey import Survey
from gmmcli.passes.workers import map_blocks, single_intra_op_thread

NOISE_SHARE = 0.05  # of the rows that a background is taken to have at the start
SIDE_BY_SIDE = 2000  # rows of a sample from which on its starts are worth a worker each


Given = GaussianMixture | Sequence[GaussianMixture] | Tensor | None  # where a fit starts


def fit_blocks(
    blocks: Iterable[Block],
    options: FitOptions,
    *,
    columns: Sequence[str] | None = None,
    start: Given = None,
    listener: Listener | None = None,
    keeper: Callable[[SurveyedRows], Keeper] | None = None,
    execution: Execution = HERE,
) -> FitResult:
    """Fits a mixture to blocks of rows that can be iterated several times.

    columns: names of the columns, for messages and for the model. start, listener: see `fit_rows`. keeper: makes one
    for the rows, see there.
    """
    begin = time.monotonic()
    family = get_family(options.family)
    rows = SurveyedRows.read(
        blocks, options, columns, most=options.components, families=[family], execution=execution
    )
    kept = None if keeper is None else keeper(rows)
    return fit_rows(rows, options, start=start, listener=listener, keeper=kept, begin=begin)


def fit_rows(
    rows: SurveyedRows,
    options: FitOptions,
    *,
    start: Given = None,
    listener: Listener | None = None,
    keeper: Keeper | None = None,
    begin: float | None = None,
) -> FitResult:
    """Fits a mixture to rows; their device, precision and standardisation are those with which they were read.

    start: a model to go on from, or several, or means (K, D) in data units, when options.init is not the name of a
    random start. listener: called after every step of every restart. keeper: of what an interrupted fit goes on with.
    begin: time.monotonic() when the work began.
    Raises InputError for data that cannot be fitted, NumericalError when every restart failed.
    """
    begin = time.monotonic() if begin is None else begin
    family = get_family(options.family)
    components, summary, threads = options.components, rows.summary, rows.threads
    if summary.distinct < components:
        raise InputError(
            f"{components} components for {summary.distinct} distinct rows: lower --components to "
            f"{summary.distinct} or less",
            kind="more components than distinct rows",
        )
    with single_intra_op_thread(), float32_products(options.precision):
        coordinates, data = rows.laid_out(family)
        scale = None
        if not family.learned:
            given = 1.0 if options.variance is None else options.variance
            scale = torch.full((1,), given, dtype=torch.float64) / coordinates.scale_of_variance()
        if options.noise:
            _require_width(summary, rows.names)

        def starts() -> list[Parameters]:
            made = _starts(data, family, options, start, scale, threads)
            if not options.noise:
                return made
            known = start.background if isinstance(start, GaussianMixture) else None
            share = torch.tensor(NOISE_SHARE, dtype=torch.float64) if known is None else known.detach().cpu()
            return [p.beside(share) for p in made]

        evaluate = Evaluator(data, family, threads, options.seed, _batches(options, summary.rows))
        prior = Prior.default(components, data.dims) if options.prior else None
        objective = Objective(family, options.floor, prior, summary.weight)
        race = Race(
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
        runs = race.run(starts, evaluate, keeper or Keeper(), samples=start is None)
        return _result(runs, race, objective, evaluate, coordinates, options, rows)


def _require_width(summary: Survey, names: Sequence[str]) -> None:
    """Raises InputError where a column of no width would leave a background without a volume."""
    if summary.constant:
        listed = ", ".join(names[d] for d in summary.constant)
        raise InputError(f"column {listed} is constant, so a background has no volume: leave it out with --exclude")


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
) -> list[Parameters]:
    if isinstance(start, GaussianMixture):
        return _starts(data, family, options, [start], scale, threads)
    if isinstance(start, Sequence):
        for model in start:
            if (model.components, model.dims) != (options.components, data.dims):
                raise InputError(
                    f"the starting model has {model.components} components of {model.dims} columns: "
                    f"the fit is of {options.components} of {data.dims}"
                )
        return [_warm_start(model, data.affine, family, scale) for model in start]
    sample = initialise.draw_sample(data, options.seed)
    if isinstance(start, Tensor):
        if tuple(start.shape) != (options.components, data.dims):
            raise InputError(
                f"the starting means are {start.shape[0]} rows of {start.shape[1]} columns: "
                f"the fit is of {options.components} components of {data.dims}"
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
    race: Race,
    objective: Objective,
    evaluate: Evaluator,
    coordinates: Coordinates,
    options: FitOptions,
    rows: SurveyedRows,
) -> FitResult:
    """Evaluates what every restart ended with in one closing pass, and keeps the best."""
    family, data, summary = evaluate.family, evaluate.data, evaluate.data.summary
    final = _closing_pass(runs, objective, evaluate)
    flaws = [race.flaw(run, evaluate) for run in runs]
    unsound = [None if flaw is None else flaw.reason for flaw in flaws]
    best = runs[rank(runs, flaws)[0]]
    order = heaviest_first(best.state.parameters)
    model = _mixture(best.state.parameters.order(order), family, coordinates, rows)
    offset = data.log_volume * summary.weight
    assert best.stop is not None
    level = final[best.restart].mean_log_likelihood - data.log_volume
    return FitResult(
        model=model,
        options=options,
        history=best.history,
        stop=best.stop,
        restart=best.restart,
        restarts=[
            _summary(run, final.get(run.restart), unsound[run.restart], offset, summary.weight) for run in runs
        ],
        rows=summary.rows,
        weight=summary.weight,
        log_likelihood=final[best.restart].mean_log_likelihood * summary.weight - offset,
        entropy=(final[best.restart].entropy or 0.0) * summary.weight_unit,
        remaining=best.state.remaining,
        flaw=next(flaw for run, flaw in zip(runs, flaws, strict=True) if run is best),
        passes=math.ceil(sum(run.passes for run in runs) - ROUNDING) + len(final) + rows.take_readings(),
        seconds=time.monotonic() - race.begin,
        device=str(data.device),
        precision="tf32" if options.precision == "tf32" else str(data.dtype).removeprefix("torch."),
        survey=summary,
        scores=score_rows(data, family, best.state.parameters, level, evaluate.threads),
        certainty=certainty(data, family, best.state.parameters.order(order), options.seed, evaluate.threads),
        order=order.tolist(),
    )


def _mixture(p: Parameters, family: Family, coordinates: Coordinates, rows: SurveyedRows) -> GaussianMixture:
    """Parameters of the fit as a mixture in data units."""
    p = coordinates.to_model(family, p)
    if not all(bool(t.isfinite().all()) for t in (p.weights, p.means, p.scale)):
        raise NumericalError("the fitted parameters overflow in the units of the data: rescale the columns")
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


def _closing_pass(runs: Sequence[Run], objective: Objective, evaluate: Evaluator) -> dict[int, SufficientStatistics]:
    """Evaluates what each restart ended with, entropy included, by restart; raises NumericalError if none is left.

    Those that were left behind were so on what is known of them, and are not looked at again.
    """
    alive = [run for run in runs if run.failure is None and run.stop is not LEFT_BEHIND]
    answers = evaluate([Request(run.state.parameters) for run in alive], entropy=True) if alive else []
    final: dict[int, SufficientStatistics] = {}
    for run, answer in zip(alive, answers, strict=True):
        if isinstance(answer, NumericalError):
            run.failure = answer
        else:
            final[run.restart] = answer
            level = objective.value(answer, run.state.parameters)
            run.state = dataclasses.replace(run.state, log_likelihood=level)
    if not final:
        first = str(runs[0].failure)
        remedy = "" if "--" in first else ": raise --variance-floor or lower --components"
        raise NumericalError(f"every restart failed, the first with: {first}{remedy}", kind="every restart failed")
    return final


def _summary(
    run: Run, final: SufficientStatistics | None, unsound: str | None, offset: float, weight: float
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
        failure=None if run.failure is None else str(run.failure),
        resets=run.resets,
    )
