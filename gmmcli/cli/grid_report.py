"""What `gmm fit` says of a grid: the table of the criterion, the reasons of cells that are not to be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gmmcli.cli.console import Console, Table
from gmmcli.cli.tables import count
from gmmcli.model.criteria import CRITERIA
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from gmmcli.choosing.cells import Cell
    from gmmcli.choosing.grid import Grid

DECIMALS = {"holdout": 5}
BEST, UNSOUND, FAILED, OPEN = "*", "!", "–", "~"
SHOWN_REASONS = 12
# What a difference of BIC says: Kass & Raftery, "Bayes factors", J. Am. Stat. Assoc. 90 (1995), section 3.2.
STRENGTH = (
    (10, ": very strong evidence"),
    (6, ": strong evidence"),
    (2, ": some evidence"),
    (0, ": hardly a difference"),
)


def grid_report(console: Console, grid: Grid) -> None:
    """The table: rows K, columns families, the best marked; then why others were not considered."""
    if len(grid.cells) == 1 and grid.options.criterion == "bic":
        return  # all of it stands in the report of the fit
    console.note(grid_table(grid))
    name, winner = CRITERIA[grid.options.criterion].label, grid.best
    value = _shown(winner, grid.options.criterion)
    console.note(f"{BEST} best by {name}: {_which(winner)}, {value}{_lead(grid)}")
    for line in _other_choices(grid):
        console.note(line)
    alike = _by_cause([cell for cell in grid.cells if not cell.sound])
    for cells in alike[:SHOWN_REASONS]:
        console.note(_why(cells))
    more = sum(len(cells) for cells in alike[SHOWN_REASONS:])
    if more:
        console.note(f"and {more} more that failed or are not to be trusted: see --table")
    early = [cell for cell in grid.cells if not cell.failed and not cell.metadata["converged"]]
    if early:
        listed = ", ".join(f"{cell.family} {cell.components}" for cell in early[:SHOWN_REASONS])
        more = f" and {len(early) - SHOWN_REASONS} more" if len(early) > SHOWN_REASONS else ""
        console.warn(f"not converged, {OPEN} in the table: {listed}{more}: raise --iterations")


def grid_table(grid: Grid) -> Table:
    """The criterion of every cell."""
    by_place = {(cell.family, cell.components): cell for cell in grid.cells}
    families = list(dict.fromkeys(cell.family for cell in grid.cells))
    name, less = CRITERIA[grid.options.criterion]
    rows = [
        [str(k), *(_cell(by_place[family, k], grid) for family in families)]
        for k in sorted({cell.components for cell in grid.cells})
    ]
    title = f"{name} by number of components and family, {'less' if less else 'more'} is better"
    return Table(["K", *families], rows, title=title)


def table_columns(grid: Grid) -> dict[str, list[Any]]:
    """The grid as the columns of a file, a row for each cell."""
    rows = [{**cell.row(), "chosen": int(cell is grid.best)} for cell in grid.cells]
    return {name: [row[name] for row in rows] for name in rows[0]}


def grid_metadata(grid: Grid) -> dict[str, Any]:
    """What the chosen model's file says of the grid."""
    return {
        "criterion": grid.options.criterion,
        "folds": grid.options.fold_count if grid.options.criterion == "holdout" else None,
        "passes": sum(int(cell.number("passes")) for cell in grid.cells if not cell.failed),
        "cells": [cell.row() for cell in grid.cells],
    }


def _cell(cell: Cell, grid: Grid) -> str:
    """A value, and after it a mark, or a space, so that digits stand under each other."""
    if math.isnan(cell.number(grid.options.criterion)):
        return f"{FAILED} "
    mark = BEST if cell is grid.best else UNSOUND if not cell.sound else " " if cell.metadata["converged"] else OPEN
    return _shown(cell, grid.options.criterion) + mark


def _shown(cell: Cell, criterion: str) -> str:
    return f"{cell.number(criterion):.{DECIMALS.get(criterion, 2)}f}"


def _other_choices(grid: Grid) -> list[str]:
    """What the criteria that were not asked for would choose, where that is another cell, and what it may mean."""
    lines = []
    for criterion, (name, _) in CRITERIA.items():
        cell = None if criterion == grid.options.criterion else grid.best_by(criterion)
        if cell is None or cell is grid.best:
            continue
        line = f"{name} would choose {_which(cell)}: {_shown(cell, criterion)}, here {_shown(grid.best, criterion)}"
        if criterion == "icl" and cell.components < grid.best.components:
            line += "; it asks for groups that stand apart: components that overlap may be parts of one group"
        lines.append(line)
    return lines


def _lead(grid: Grid) -> str:
    """By how much the best is ahead of the next sound cell, and which that is; empty where there is none."""
    criterion, less = grid.options.criterion, CRITERIA[grid.options.criterion].less_is_better
    next_best = grid.next_best()
    if next_best is None:
        return ""
    ahead = abs(next_best.number(criterion) - grid.best.number(criterion))
    decimals = DECIMALS.get(criterion, 2)
    strength = next(word for least, word in STRENGTH if ahead >= least) if criterion == "bic" else ""
    return f", {ahead:.{decimals}f} {'below' if less else 'above'} the next, {_which(next_best)}{strength}"


def _by_cause(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The cells of one family that fail for the same kind of reason together."""
    alike: dict[tuple[str, bool, str], list[Cell]] = {}
    for cell in cells:
        if cell.cause is not None:
            alike.setdefault((cell.family, cell.failed, cell.cause.kind), []).append(cell)
    return list(alike.values())


def _why(cells: Sequence[Cell]) -> str:
    """`! full, 6 and 8 components: with 6, component 5 has a variance at the floor`."""
    first = cells[0]
    numbers = [str(cell.components) for cell in cells]
    counts = numbers[0] if len(cells) == 1 else f"{', '.join(numbers[:-1])} and {numbers[-1]}"
    noun = "component" if counts == "1" else "components"
    example = "" if len({cell.reason for cell in cells}) == 1 else f"with {first.components}, "
    mark, reason = FAILED if first.failed else UNSOUND, one_line(first.reason or "")
    return f"{mark} {first.family}, {counts} {noun}: {example}{reason}"


def _which(cell: Cell) -> str:
    return f"family {cell.family}, {count(cell.components, 'component')}"
