"""A grid of fits over families and numbers of components, in which no cell ends below one that it contains.

Cells are fitted simplest first. A mixture of K components is also one of K + 1, and a mixture of a family is also one
of a family that contains it. So the greatest log-likelihood of a cell is never below that of a simpler cell. If
random starts end lower, they have missed it. The cell then starts again from the simpler fits, with a component split
in two (`split`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from gmmcli.choosing.cells import Cause, Cell, FolderStore, best, distrusted
from gmmcli.choosing.folds import Part, ScoreSums
from gmmcli.choosing.options import GridOptions
from gmmcli.choosing.watcher import Watcher
from gmmcli.errors import GmmError, InputError, NumericalError, Option, RowsError, UsageError
from gmmcli.families import contained, get_family
from gmmcli.families.base import Family
from gmmcli.fitting.fit import fit_rows
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult
from gmmcli.fitting.rows import SurveyedRows, survey_rows
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.execution import HERE, Execution
from gmmcli.passes.reading import Reading, Task, read, side_by_side

ROUNDING = 1e-9  # nats per row by which a cell may lie below one that it contains
AT_A_TIME = 8  # cells that share readings; with more, an interrupted grid would lose more
TIME_UP = Cause("time limit", "not fitted, as the allowed time was up")
APART = 0.7  # standard deviations along the longest axis that each half's mean moves
MOST = 10  # starts from one cell with a component split, at most


@dataclass(frozen=True)
class Grid:
    """The cells in the order of fitting, the best by the criterion, and the store that holds them meanwhile."""

    options: GridOptions
    cells: Sequence[Cell]
    best: Cell
    store: FolderStore | None = None

    def best_by(self, criterion: str) -> Cell | None:
        """The cell that another criterion would choose."""
        return best(self.cells, criterion)

    def next_best(self) -> Cell | None:
        """The second best of the sound cells; None if there is none, or the best is not sound."""
        others = [cell for cell in self.cells if cell is not self.best and cell.sound]
        return best(others, self.options.criterion) if self.best.sound else None

    @property
    def model(self) -> GaussianMixture:
        """The model of the best cell."""
        assert self.best.model is not None
        return self.best.model


def grid_task(
    blocks: Iterable[Block],
    options: FitOptions,
    grid: GridOptions,
    *,
    columns: Sequence[str] | None = None,
    watcher: Watcher | None = None,
    store: FolderStore | None = None,
    execution: Execution = HERE,
) -> Task[Grid]:
    """The fits of all cells. options: what all cells share.

    Raises RowsError for rows that no cell could take, NumericalError if every cell failed.
    """
    watcher = watcher or Watcher()
    all_options = grid.cells(options)
    families = [get_family(name) for name in dict.fromkeys(its.family for its in all_options)]
    survey: dict[str, Any] = {"most": max(grid.components), "families": families, "execution": execution}
    rows = yield from survey_rows(blocks, options, columns, **survey)
    yield from rows.hold_blocks()  # every part and every kind of coordinates reads them again

    def saved(its: FitOptions) -> Cell | None:
        return None if store is None else store.get(its, rows.summary.fingerprint)

    def fits(of: SurveyedRows, purpose: str = "") -> _RandomFits:
        return _RandomFits(of, all_options, watcher, lambda its: saved(its) is not None, purpose)

    judges: list[tuple[_RandomFits, Part]] = []
    if grid.criterion == "holdout":
        number = grid.fold_count
        if number > rows.summary.rows:
            problem = f"there are {rows.summary.rows} rows"
            raise UsageError(problem, subject=Option("folds", number), remedy="give at most as many")
        for i in range(number):
            part = Part(rows.blocks, options.seed, i, number, held_out=True)
            others = yield from survey_rows(replace(part, held_out=False), options, columns, **survey)
            judges.append((fits(others, f"fold {i + 1} of {number}"), part))
    random = fits(rows)
    cells: list[Cell] = []
    for its in all_options:
        cell = saved(its)
        if cell is None and cells and its not in random.ahead and execution.late():
            cell = Cell(its.family, its.components, None, {}, cause=TIME_UP)
        elif cell is None:
            cell = yield from _cell(rows, its, cells, watcher, random)
            if judges and not cell.failed:
                cell = yield from _judged(cell, judges, its, rows)
            if store is not None:
                store.put(its, cell)
        cells.append(cell)
        watcher.ends(cell)
    chosen = best(cells, grid.criterion)
    if chosen is None:
        raise _all_failed(cells)
    return Grid(grid, cells, chosen, store)


@dataclass
class _RandomFits:
    """The fits of the cells from random starts, which need nothing of one another.

    If every pass reads the rows again, some fits are made ahead of their turn: they share readings. rows: the rows of
    all fits. order: the options of the fits in the order of the requests. done: tells whether nobody asks for a fit
    any more. purpose: see Watcher.begins. ahead: the fits that were made ahead of their turn.
    """

    rows: SurveyedRows
    order: Sequence[FitOptions]
    watcher: Watcher
    done: Callable[[FitOptions], bool]
    purpose: str = ""
    ahead: dict[FitOptions, FitResult | GmmError] = field(default_factory=dict)

    def fit(self, options: FitOptions) -> Task[FitResult]:
        """The fit of these options. Raises InputError or NumericalError if it failed."""
        if options not in self.ahead:
            some = yield from self._next(options)
            if len(some) == 1:
                self.watcher.begins(options.family, options.components, self.purpose)
                return (yield from fit_rows(self.rows, options, listener=self.watcher.listener))
            yield from self._lay_out([get_family(its.family) for its in some])
            cells = [(its.family, its.components) for its in some]
            listener_of = self.watcher.several_begin(cells, self.purpose)
            tasks = [fit_rows(self.rows, its, listener=listener_of(its.family, its.components)) for its in some]
            found = yield from side_by_side(tasks)
            self.ahead = dict(zip(some, found, strict=True))
        result = self.ahead.pop(options)
        if isinstance(result, GmmError):
            raise result
        return result

    def _lay_out(self, families: Sequence[Family]) -> Task[None]:
        """Lays out the rows for all of these families at once. One that cannot have the rows fails in its own fit."""
        able: list[Family] = []
        for family in families:
            try:
                yield from self.rows.laid_out(*able, family)
                able.append(family)
            except InputError:
                continue

    def _next(self, first: FitOptions) -> Task[list[FitOptions]]:
        """Options of this fit and of those that are made together with it."""
        family = get_family(first.family)
        yield from self.rows.laid_out(family)
        _, data = self.rows.of(family)
        if data.layout is None:
            return [first]
        after = self.order[self.order.index(first) + 1 :]
        return [first, *(its for its in after if not self.done(its))][:AT_A_TIME]


def _all_failed(cells: Sequence[Cell]) -> GmmError:
    """The error of a grid without a fit. It is the rows' error if they are at fault in every cell."""
    causes = [cell.cause for cell in cells if cell.cause is not None]
    kind = RowsError if all(cause.of_input for cause in causes) else NumericalError
    if len({cause.reason for cause in causes}) == 1:
        return kind(causes[0].reason)
    return kind(f"every cell of the grid failed, the first with: {causes[0].reason}")


def _cell(
    rows: SurveyedRows, options: FitOptions, before: Sequence[Cell], watcher: Watcher, random: _RandomFits
) -> Task[Cell]:
    """The fit from random starts. If it ends unsound or below a simpler cell, the cell starts again from these."""
    simpler = [] if options.prior else _simpler(before, options)
    under = max(simpler, key=lambda cell: cell.number("log_likelihood"), default=None)
    level = -math.inf if under is None else under.number("log_likelihood") - ROUNDING * rows.summary.weight
    kept: FitResult | None = None
    failures: list[GmmError] = []
    for apart in (None, True, False):  # random starts, then those from simpler cells
        starts = None if apart is None else _grown(simpler, options, apart)
        try:
            if starts is None:
                found = yield from random.fit(options)
            elif not starts:
                continue
            else:
                watcher.begins(options.family, options.components, "from simpler fits")
                given = replace(options, init="given", restarts=None)
                found = yield from fit_rows(rows, given, start=starts, listener=watcher.listener)
        except (InputError, NumericalError) as error:
            failures.append(error)
            continue
        kept = _better(kept, found)
        if kept.unsound is None and kept.log_likelihood >= level:
            break
    if kept is None:
        reason, of_input = failures[0].worded(rows.execution.word), isinstance(failures[0], InputError)
        cause = Cause(failures[0].kind, reason, of_input)
        return Cell(options.family, options.components, None, {}, cause=cause)
    cell = Cell.of(replace(kept, options=options))
    if kept.model.components < options.components:
        left = f"{kept.model.components} components are left of it, the others were dropped"
        return distrusted(cell, Cause("dropped components", left))
    if under is not None and cell.sound and kept.log_likelihood < level:
        # the fits begun at the simpler ones reach these at least, so they are unsound
        simpler_one = f"{under.family} with {under.components}"
        below = f"a lower log-likelihood than {simpler_one}, and no sound fit above that was found: use that one"
        return distrusted(cell, Cause(f"below a fit of {under.family}", below))
    return cell


def _simpler(before: Sequence[Cell], options: FitOptions) -> list[Cell]:
    """The sound cells that a cell contains: those with as many components, and the largest with fewer."""
    within = contained(options.family)
    sound = [cell for cell in before if cell.sound]
    same = [cell for cell in sound if cell.family in within and cell.components == options.components]
    fewer = [cell for cell in sound if cell.family == options.family and cell.components < options.components]
    return [*same, *fewer[-1:]]


def _grown(simpler: Sequence[Cell], options: FitOptions, apart: bool) -> list[GaussianMixture]:
    """Starts from simpler cells. Without `apart` a start has the log-likelihood of its cell."""
    models = [cell.model for cell in simpler if cell.model is not None]
    made = [model for model in models if model.components == options.components]
    for model in models:
        if model.components < options.components:
            made += split(model, options.components) if apart else split(model, options.components, 0.0)[:1]
    return made


def _better(one: FitResult | None, other: FitResult) -> FitResult:
    """The better of two fits, sound ones first, with the passes and seconds of both."""
    if one is None:
        return other
    kept = max(one, other, key=lambda result: (result.unsound is None, result.log_likelihood))
    return replace(kept, passes=one.passes + other.passes, seconds=one.seconds + other.seconds)


def _judged(
    cell: Cell, judges: Sequence[tuple[_RandomFits, Part]], options: FitOptions, rows: SurveyedRows
) -> Task[Cell]:
    """The cell with its held-out log-likelihood per row."""
    total, weight = 0.0, 0.0
    for others, part in judges:
        try:
            result = yield from others.fit(options)
        except (InputError, NumericalError) as error:
            reason = f"fold {part.index + 1} of {part.parts} failed: {error.worded(rows.execution.word)}"
            return distrusted(cell, Cause(f"a fold failed: {error.kind}", reason))
        execution = rows.execution
        held_out = Reading(partial(ScoreSums, result.model), part, None, execution.group, execution.meter)
        sums = yield from read(held_out)
        total, weight = total + sums[0], weight + sums[1]
    return replace(cell, holdout=total / weight)


@torch.no_grad()
def split(model: GaussianMixture, components: int, apart: float = APART) -> list[GaussianMixture]:
    """Mixtures with `components` components. Each splits another component of the model first, heaviest first.

    A component of weight π, mean μ, covariance Σ with largest eigenvalue λ along v becomes two of π/2, μ ± a√λ v and
    Σ − a²λ v vᵀ, with a = `apart`. Together they have its moments. Further components come from splitting the
    heaviest, repeatedly.
    """
    weights, means, covariances = model.weights / model.weights.sum(), model.means, model.covariances
    made: list[GaussianMixture] = []
    for first in weights.argsort(descending=True, stable=True)[:MOST].tolist():
        parts = list(zip(weights.tolist(), means, covariances, strict=True))
        place = first
        while len(parts) < components:
            weight, mean, covariance = parts.pop(place)
            values, vectors = torch.linalg.eigh(covariance)
            step = apart * values[-1].clamp_min(0).sqrt() * vectors[:, -1]
            rest = covariance - step[:, None] * step
            parts += [(weight / 2, mean - step, rest), (weight / 2, mean + step, rest)]
            place = max(range(len(parts)), key=lambda k: parts[k][0])
        shares = torch.tensor([part[0] for part in parts], dtype=torch.float64)
        means_, covariances_ = (torch.stack([part[i] for part in parts]) for i in (1, 2))
        p = model.kind.from_moments(shares, means_, covariances_)
        if model.background is not None:
            p = replace(p, weights=p.weights * (1 - model.background), background=model.background)
        made.append(GaussianMixture.of(p, model.family, box=model.box))
    return made
