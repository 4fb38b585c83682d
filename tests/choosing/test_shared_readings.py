"""A grid over rows that are read anew for each pass: its cells share readings, and are what they are in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from gmmcli.choosing import grid as grids
from gmmcli.choosing.cells import Cell
from gmmcli.choosing.grid import Grid
from gmmcli.choosing.options import GridOptions
from gmmcli.fitting.options import FitOptions
from gmmcli.passes.block import Block
from gmmcli.passes.execution import HERE, Execution
from tests.conftest import fit_grid
from tests.fitting.test_scale import LITTLE, NAMES, Case, Counted, Meeting, Process, small

__all__ = ["small"]  # a fixture

CASES = {
    "families": (Case({}), ["isotropic", "diagonal", "full"], "bic"),
    "weights": (Case({}, weighted=True), ["shared_diagonal", "full"], "icl"),
    "missing": (Case({}, gaps=True), ["diagonal", "full"], "bic"),
    "noise": (Case({"noise": True}), ["tied"], "bic"),
    "folds": (Case({}), ["diagonal", "full"], "holdout"),
    "lbfgs": (Case({"method": "gradient", "optimizer": "lbfgs", "iterations": 15}), ["diagonal"], "bic"),
}


def fitted(
    case: Case, families: Sequence[str], criterion: str, blocks: Sequence[Block] | Counted, execution: Execution
) -> Grid:
    options = FitOptions(**{"restarts": 2, "threads": 2, "tolerance": 1e-3, **case.options})
    folds = 2 if criterion == "holdout" else None
    grid = GridOptions([1, 2, 4], families, criterion, folds)
    return fit_grid(blocks, options, grid, columns=NAMES, execution=execution)


def told(grid: Grid) -> list[Any]:
    """All that is known of the cells, times apart."""

    def of(cell: Cell) -> Any:
        history = cell.metadata.get("history")
        parameters = {} if cell.model is None else {k: v.tolist() for k, v in cell.model.state_dict().items()}
        return {**cell.row(), "seconds": None}, history, parameters, cell.holdout

    return [of(cell) for cell in grid.cells]


@pytest.mark.usefixtures("hostile")
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", CASES)
def test_cells_that_share_readings_are_those_of_rows_in_memory(name: str) -> None:
    case, families, criterion = CASES[name]
    kept, anew = Counted(case.blocks()), Counted(case.blocks())
    expected = fitted(case, families, criterion, kept, HERE)
    actual = fitted(case, families, criterion, anew, LITTLE)
    assert told(actual) == told(expected)


@pytest.mark.usefixtures("small")
def test_one_reading_serves_many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = []
    for at_a_time in (1, 8):
        monkeypatch.setattr(grids, "AT_A_TIME", at_a_time)
        blocks = Counted(Case({}).blocks())
        fitted(Case({}), ["diagonal", "full"], "bic", blocks, LITTLE)
        readings.append(blocks.readings)
    assert readings[1] < 0.5 * readings[0]


@pytest.mark.usefixtures("hostile")
@pytest.mark.usefixtures("small")
def test_processes_share_readings_in_step() -> None:
    case = Case({}, weighted=True)
    blocks = case.blocks()
    parts = [blocks[:9], blocks[9:]]
    meeting, found = Meeting(2), dict[int, Any]()

    def process(rank: int) -> None:
        try:
            execution = Execution(Process(meeting, rank, 2), lambda: 1)
            found[rank] = told(fitted(case, ["diagonal", "full"], "bic", parts[rank], execution))
        except BaseException as error:
            found[rank] = error
            meeting.barrier.abort()

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = told(fitted(case, ["diagonal", "full"], "bic", blocks, HERE))
    assert found == {0: expected, 1: expected}


@pytest.mark.usefixtures("small")
def test_a_cell_that_fails_does_not_end_those_beside_it() -> None:
    blocks = Case({}).blocks()
    few = [replace(block, cells=(block.x > block.x.mean(0)).double()) for block in blocks]  # at most 8 distinct rows
    options = FitOptions(restarts=1, threads=1)
    grid = fit_grid(few, options, GridOptions([2, 9], ["diagonal"], "bic"), columns=NAMES, execution=LITTLE)
    assert [cell.failed for cell in grid.cells] == [False, True]
    assert "9 components for " in str(grid.cells[1].reason)


@pytest.mark.usefixtures("small")
def test_what_ends_one_fit_by_a_fault_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr("gmmcli.fitting.fit.certainty", broken)
    with pytest.raises(RuntimeError, match="broken"):
        fitted(Case({}), ["diagonal", "full"], "bic", Case({}).blocks(), LITTLE)
    assert threading.active_count() <= before + 2  # workers outlive a pass, fits do not outlive their grid
