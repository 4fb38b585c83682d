"""A grid of fits over families and numbers of components, none of which ends below one that it contains.

Cells are fitted simplest first: a mixture of K components is also one of K + 1, and one of a family also one of a
family that contains it, so that the log-likelihood of a cell at its maximum is never below that of a simpler one.
Where random starts end lower, they have missed it, and the cell starts again from the simpler fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gmmcli.choosing.cells import Cause, Cell, best, distrusted
from gmmcli.choosing.holdout import Fold, log_likelihood
from gmmcli.choosing.options import GridOptions
from gmmcli.choosing.random_starts import RandomStarts, fit_cell
from gmmcli.choosing.splitting import split
from gmmcli.choosing.watcher import Watcher
from gmmcli.errors import GmmError, InputError, NumericalError, UsageError
from gmmcli.families import contained, get_family
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult
from gmmcli.fitting.rows import SurveyedRows
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.execution import HERE, Execution

ROUNDING = 1e-9  # nats per row by which a cell may lie below one that it contains
TIME_UP = Cause("time limit", "not fitted, as the time allowed by --time-limit was up")


class Store(Protocol):
    """Where finished cells are kept, so that an interrupted grid need not start anew."""

    def get(self, options: FitOptions, data: str) -> Cell | None:
        """The cell of these options and of data with this fingerprint, where it is kept."""
        ...

    def put(self, options: FitOptions, cell: Cell) -> None:
        """Keeps a finished cell."""
        ...

    def remove(self) -> str | None:
        """Forgets the cells of this grid; returns where others are kept, None where there are none."""
        ...


@dataclass(frozen=True)
class Grid:
    """The fitted cells, in the order of fitting, and the best by the criterion; where cells were kept meanwhile."""

    options: GridOptions
    cells: Sequence[Cell]
    best: Cell
    store: Store | None = None

    def best_by(self, criterion: str) -> Cell | None:
        """The cell that another criterion would choose."""
        return best(self.cells, criterion)

    def next_best(self) -> Cell | None:
        """The sound cell after the best; None where there is none, or the best itself is not sound."""
        others = [cell for cell in self.cells if cell is not self.best and cell.sound]
        return best(others, self.options.criterion) if self.best.sound else None

    @property
    def model(self) -> GaussianMixture:
        """The best cell's."""
        assert self.best.model is not None
        return self.best.model


def fit_grid(
    blocks: Iterable[Block],
    options: FitOptions,
    grid: GridOptions,
    *,
    columns: Sequence[str] | None = None,
    watcher: Watcher | None = None,
    store: Store | None = None,
    execution: Execution = HERE,
) -> Grid:
    """Fits every cell to blocks that can be iterated several times. `options` but for components and family.

    Raises InputError for rows that no cell could take, NumericalError where every cell failed.
    """
    watcher = watcher or Watcher()
    order = grid.order()
    families = [get_family(family) for family in dict.fromkeys(family for family, _ in order)]
    most = max(components for _, components in order)

    def read(blocks: Iterable[Block]) -> SurveyedRows:
        return SurveyedRows.read(blocks, options, columns, most=most, families=families, execution=execution)

    rows, folds = read(blocks), []
    rows.keep_blocks()  # every fold and kind of coordinates reads them anew
    if grid.criterion == "holdout":
        number = grid.fold_count
        if number > rows.summary.rows:
            raise UsageError(f"--folds {number}: there are {rows.summary.rows} rows: give at most as many")
        parts = [
            [Fold(rows.blocks, options.seed, i, number, held_out) for held_out in (False, True)]
            for i in range(number)
        ]
        folds = [(read(others), fold) for others, fold in parts]

    def kept(its: FitOptions) -> Cell | None:
        return None if store is None else store.get(its, rows.summary.fingerprint)

    def fits(of: SurveyedRows, purpose: str = "") -> RandomStarts:
        return RandomStarts(of, all_options, watcher, lambda its: kept(its) is not None, purpose)

    all_options = [grid.options(options, family, components) for family, components in order]
    random = fits(rows)
    judges = [(fits(others, f"fold {fold.fold + 1} of {fold.folds}"), fold) for others, fold in folds]
    cells: list[Cell] = []
    for its in all_options:
        family, components = its.family, its.components
        cell = kept(its)
        if cell is None and cells and not random.has(its) and execution.late():
            cell = Cell(family, components, None, {}, cause=TIME_UP)
        elif cell is None:
            cell = _cell(rows, its, cells, watcher, random)
            if folds and not cell.failed:
                cell = _judged(cell, judges, its, rows)
            if store is not None:
                store.put(its, cell)
        cells.append(cell)
        watcher.ends(cell)
    chosen = best(cells, grid.criterion)
    if chosen is None:
        raise _all_failed(cells)
    return Grid(grid, cells, chosen, store)


def _all_failed(cells: Sequence[Cell]) -> GmmError:
    """The error of a grid without a fit: of the rows where these are at fault in every cell."""
    causes = [cell.cause for cell in cells if cell.cause is not None]
    kind = InputError if all(cause.of_input for cause in causes) else NumericalError
    if len({cause.reason for cause in causes}) == 1:
        return kind(causes[0].reason)
    return kind(f"every cell of the grid failed, the first with: {causes[0].reason}")


def _cell(
    rows: SurveyedRows, options: FitOptions, before: Sequence[Cell], watcher: Watcher, random: RandomStarts
) -> Cell:
    """Of random starts; and of the simpler cells where those end below them, or end unsound."""
    simpler = [] if options.prior else _simpler(before, options)
    under = max(simpler, key=lambda cell: cell.number("log_likelihood"), default=None)
    level = -math.inf if under is None else under.number("log_likelihood") - ROUNDING * rows.summary.weight
    kept: FitResult | None = None
    failures: list[GmmError] = []
    for starts in _attempts(simpler, options):
        try:
            found = random.fit(options) if starts is None else _fit_from(rows, options, watcher, starts)
        except (InputError, NumericalError) as error:
            failures.append(error)
            continue
        kept = _better(kept, found)
        if kept.unsound is None and kept.log_likelihood >= level:
            break
    if kept is None:
        return Cell(options.family, options.components, None, {}, cause=Cause.of_error(failures[0]))
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


def _attempts(simpler: Sequence[Cell], options: FitOptions) -> Iterator[Sequence[GaussianMixture] | None]:
    """Where to start, one attempt after the other: at random (None), then from the simpler cells."""
    yield None
    for apart in (True, False):
        if starts := _grown(simpler, options, apart):
            yield starts


def _fit_from(
    rows: SurveyedRows, options: FitOptions, watcher: Watcher, starts: Sequence[GaussianMixture]
) -> FitResult:
    watcher.begins(options.family, options.components, "from simpler fits")
    return fit_cell(rows, replace(options, init="given", restarts=None), watcher, starts)


def _simpler(before: Sequence[Cell], options: FitOptions) -> list[Cell]:
    """The sound cells that this one contains: with as many components, and the largest with fewer."""
    within = contained(options.family)
    sound = [cell for cell in before if cell.sound]
    same = [cell for cell in sound if cell.family in within and cell.components == options.components]
    fewer = [cell for cell in sound if cell.family == options.family and cell.components < options.components]
    return [*same, *fewer[-1:]]


def _grown(simpler: Sequence[Cell], options: FitOptions, apart: bool) -> list[GaussianMixture]:
    """Starts from simpler cells; without `apart` those whose log-likelihood is just theirs."""
    models = [cell.model for cell in simpler if cell.model is not None]
    made = [model for model in models if model.components == options.components]
    for model in models:
        if model.components < options.components:
            made += split(model, options.components) if apart else split(model, options.components, 0.0)[:1]
    return made


def _better(one: FitResult | None, other: FitResult) -> FitResult:
    """The better of two fits, sound ones first; its passes and seconds are those of both."""
    if one is None:
        return other
    kept = max(one, other, key=lambda result: (result.unsound is None, result.log_likelihood))
    return replace(kept, passes=one.passes + other.passes, seconds=one.seconds + other.seconds)


def _judged(cell: Cell, judges: Sequence[tuple[RandomStarts, Fold]], options: FitOptions, rows: SurveyedRows) -> Cell:
    """The cell with its held-out log-likelihood per row."""
    total, weight = 0.0, 0.0
    for others, held_out in judges:
        try:
            model = others.fit(options).model
        except (InputError, NumericalError) as error:
            failed = f"fold {held_out.fold + 1} of {held_out.folds} failed: {error}"
            return distrusted(cell, Cause(f"a fold failed: {error.kind}", failed))
        part, its_weight = log_likelihood(held_out, model, rows.threads, rows.execution.group)
        total, weight = total + part, weight + its_weight
    return replace(cell, holdout=total / weight)
