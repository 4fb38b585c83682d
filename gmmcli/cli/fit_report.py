"""Output of `gmm fit`: its columns, its plan, its grid of fits, and the closing summary.

- `columns_report`, `fit_report`: before and after a fit. `grid_report`: the criterion of every cell, the choice, and
  the cells that failed. `plan_report`: the rows, the memory and the passes of --dry-run.
- `grid_columns`, `grid_metadata`: the grid for the table of --table and for the model file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gmmcli.cli import report
from gmmcli.cli.console import Console, Table, count
from gmmcli.model.criteria import CRITERIA
from gmmcli.storage.names import listing, one_line, printable

if TYPE_CHECKING:
    from gmmcli.choosing.cells import Cell
    from gmmcli.choosing.grid import Grid
    from gmmcli.cli.fit_work import Fitted, Settings
    from gmmcli.data.columns import Selection
    from gmmcli.data.source_blocks import SourceBlocks
    from gmmcli.passes.execution import Execution

SHOWN_COMPONENTS = 12
SHOWN_COLUMNS = 12
SHOWN_REASONS = 12
DECIMALS = {"holdout": 5}
BEST, UNSOUND, FAILED, OPEN = "*", "!", "–", "~"
UNITS = ("B", "kB", "MB", "GB", "TB")
# Evidence by the difference of BIC: Kass & Raftery, "Bayes factors", J. Am. Stat. Assoc. 90 (1995), section 3.2.
STRENGTH = {10: ": very strong evidence", 6: ": strong evidence", 2: ": some evidence", 0: ": hardly a difference"}


def columns_report(console: Console, selection: Selection, weights: str | None) -> None:
    """Notes the columns used, the columns left out with the reasons, and the row weights."""
    console.note(f"columns: {listing(selection.used)}")
    by_reason: dict[str, list[str]] = {}
    for name, reason in selection.left_out.items():
        if name != weights:
            by_reason.setdefault(reason, []).append(name)
    if by_reason:
        parts = (f"{listing(names)} ({one_line(reason)})" for reason, names in by_reason.items())
        console.note(f"left out: {'; '.join(parts)}")
    if weights is not None:
        console.note(f"row weights: {printable(weights)}")


def fit_report(
    console: Console,
    fitted: Fitted,
    metadata: report.Metadata,
    notes: Sequence[str],
    output: str,
    seconds: float,
    strict: bool,
) -> None:
    """Notes the grid, the closing summary, and warnings with their remedies.

    strict: whether an error follows if the fit has not converged.
    """
    model = fitted.model
    if fitted.grid is not None:
        grid_report(console, fitted.grid)
    for line in [*notes, report.rows_line(metadata), *report.model_lines(metadata)]:
        console.note(line)
    if model.components <= SHOWN_COMPONENTS and model.dims <= SHOWN_COLUMNS:
        console.note(report.component_summary(model, metadata))
    for line in [*report.component_lines(model, metadata), *report.restart_lines(metadata)]:
        console.note(line)
    failed = [restart for restart in metadata["restarts"] if restart["failure"] is not None]
    if failed:
        console.warn(f"{count(len(failed), 'restart')} failed: {failed[0]['failure']}")
    where = "" if metadata["device"] == "cpu" else f" on {metadata['device']} in {metadata['precision']}"
    passes = metadata.get("selection", {}).get("passes", metadata["passes"])
    console.note(f"{printable(output)}: written after {seconds:.1f} s, {passes} passes in all{where}")
    if not metadata["converged"] and not strict:
        stop = metadata["stop"]
        console.warn(f"not converged: {stop['remedy'] or stop['prose']}")
    for finding in metadata["findings"]:
        console.warn(finding)


def grid_report(console: Console, grid: Grid) -> None:
    """Notes the criterion of every cell, the best marked, then the reasons against others."""
    if len(grid.cells) == 1 and grid.options.criterion == "bic":
        return  # the report of the fit says all of it
    console.note(_grid_table(grid))
    name, winner = CRITERIA[grid.options.criterion][0], grid.best
    console.note(f"{BEST} best by {name}: {_which(winner)}, {_shown(winner, grid.options.criterion)}{_lead(grid)}")
    for line in _other_choices(grid):
        console.note(line)
    alike = by_cause([cell for cell in grid.cells if not cell.sound])
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


def grid_columns(grid: Grid) -> dict[str, list[Any]]:
    """The columns of the table of fits, a row for each cell."""
    rows = [{**cell.row(), "chosen": int(cell is grid.best)} for cell in grid.cells]
    return {name: [row[name] for row in rows] for name in rows[0]}


def grid_metadata(grid: Grid) -> dict[str, Any]:
    """The grid as metadata of the chosen model."""
    return {
        "criterion": grid.options.criterion,
        "folds": grid.options.fold_count if grid.options.criterion == "holdout" else None,
        "passes": sum(int(cell.number("passes")) for cell in grid.cells if not cell.failed),
        "cells": [cell.row() for cell in grid.cells],
    }


def _grid_table(grid: Grid) -> Table:
    """The criterion of every cell. A mark or a space follows it, so that digits are aligned."""
    criterion = grid.options.criterion
    name, less = CRITERIA[criterion]

    def shown(cell: Cell) -> str:
        if math.isnan(cell.number(criterion)):
            return f"{FAILED} "
        mark = " " if cell.metadata["converged"] else OPEN
        mark = BEST if cell is grid.best else mark if cell.sound else UNSOUND
        return _shown(cell, criterion) + mark

    cells = {(cell.family, cell.components): shown(cell) for cell in grid.cells}
    families = list(dict.fromkeys(cell.family for cell in grid.cells))
    numbers = sorted({cell.components for cell in grid.cells})
    rows = [[str(k), *(cells[family, k] for family in families)] for k in numbers]
    title = f"{name} by number of components and family, {'less' if less else 'more'} is better"
    return Table(["K", *families], rows, title=title)


def _shown(cell: Cell, criterion: str) -> str:
    return f"{cell.number(criterion):.{DECIMALS.get(criterion, 2)}f}"


def _other_choices(grid: Grid) -> list[str]:
    """A line for each other criterion that would choose another cell."""
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
    """The lead of the best over the next sound cell, and the name of that cell; empty if there is none."""
    criterion, less = grid.options.criterion, CRITERIA[grid.options.criterion][1]
    next_best = grid.next_best()
    if next_best is None:
        return ""
    ahead = abs(next_best.number(criterion) - grid.best.number(criterion))
    strength = next(word for least, word in STRENGTH.items() if ahead >= least) if criterion == "bic" else ""
    by = f"{ahead:.{DECIMALS.get(criterion, 2)}f}"
    return f", {by} {'below' if less else 'above'} the next, {_which(next_best)}{strength}"


def by_cause(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Groups of cells of one family that fail for the same kind of reason."""
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


def plan_report(console: Console, blocks: SourceBlocks, settings: Settings, execution: Execution) -> None:
    """Notes the plan of --dry-run: rows, memory, passes and starts."""
    from gmmcli.fitting.rows import Plan
    from gmmcli.passes.device import pass_dtype, resolve_device
    from gmmcli.passes.workers import default_threads

    options, grid = settings.options, settings.grid
    device = resolve_device(options.device)
    dtype = pass_dtype(options.precision, device)
    plan = Plan(
        rows=blocks.rows,
        own_rows=blocks.share_rows,
        columns=len(blocks.columns),
        weighted=blocks.weights is not None,
        incomplete=settings.missing == "em",
        dtype=dtype,
        budget=execution.memory(),
    )
    size = execution.group.size
    share = "" if size == 1 else f", of which this process reads {blocks.share_rows}"
    console.note(f"{count(blocks.rows, 'row')} of {count(len(blocks.columns), 'column')}{share}")
    files = "one file" if len(blocks.files) == 1 else f"{len(blocks.files)} files"
    console.note(f"a reading is of {in_bytes(blocks.bytes_per_reading)}: from {files}")
    held = "they are kept in memory" if plan.in_memory else "they are read anew for every pass"
    if plan.in_memory and plan.bytes > plan.budget:
        held += ", since they are no more than the sample that every fit keeps"
    console.note(f"rows laid out take {in_bytes(plan.bytes)}, of {in_bytes(plan.budget)} that they may: {held}")
    threads = options.threads or default_threads()
    where = f"by {count(threads, 'worker')} on the CPU" if device.type == "cpu" else f"on {device}"
    processes = "" if size == 1 else f" of each of {size} processes"
    console.note(f"passes run {where}{processes}, in {str(dtype).removeprefix('torch.')}")
    console.note(f"readings before the first pass: {plan.readings}")
    for one in [options] if grid is None else grid.cells(options):
        on = " after samples of " + ", ".join(f"{rows:,}" for rows in plan.samples(one)) if plan.samples(one) else ""
        console.note(
            f"{one.family}, {count(one.components, 'component')}: {count(one.restart_count, 'start')}{on}, the best "
            f"of them up to {one.passes} passes each over all rows"
        )


def in_bytes(number: float) -> str:
    """A size in three digits with its unit: `1.6 GB`."""
    power = min(int(math.log10(max(number, 1) / 0.9995) / 3), len(UNITS) - 1)
    return f"{number / 1000**power:.3g} {UNITS[power]}"
