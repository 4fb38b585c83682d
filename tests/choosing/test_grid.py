"""Grids of fits: no cell below one that it contains, the same table for the same seed, references from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from gmmcli.choosing import grid as grids
from gmmcli.choosing.cells import Cause, Cell, best
from gmmcli.choosing.grid import Grid
from gmmcli.choosing.options import GridOptions, parse_components, parse_families
from gmmcli.choosing.watcher import Watcher
from gmmcli.errors import InputError, UsageError
from gmmcli.families import FAMILIES, contained, get_family, given_variance, simplest_first
from gmmcli.fitting.options import FitOptions
from gmmcli.passes.block import TableBlocks
from tests.conftest import fit_grid
from tests.fitting.test_reference_cells import CELLS

LEARNED = [name for name in FAMILIES if name not in given_variance()]
ROOT = Path(__file__).parents[2]


def table(name: str) -> Tensor:
    frame = (
        pd.read_csv(ROOT / "sample_data" / f"{name}.csv")
        .select_dtypes("number")
        .drop(columns="year", errors="ignore")
    )
    return torch.from_numpy(frame.dropna().to_numpy(dtype="float64"))


def clusters(seed: int = 0, rows: int = 300) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 2, generator=draw, dtype=torch.float64)
    x[::3] += torch.tensor([6.0, 0.0])
    x[1::3] += torch.tensor([0.0, 6.0])
    return x


def fitted(x: Tensor, components: Sequence[int], families: Sequence[str], **options: Any) -> Grid:
    chosen = {name: options.pop(name) for name in ("criterion", "folds", "variance") if name in options}
    watched = {name: options.pop(name) for name in ("store", "watcher") if name in options}
    return fit_grid(TableBlocks(x), FitOptions(**options), GridOptions(components, families, **chosen), **watched)


def level(grid: Grid, family: str, components: int) -> float:
    return next(c for c in grid.cells if (c.family, c.components) == (family, components)).number("log_likelihood")


def assert_nested(grid: Grid) -> None:
    """Among sound cells a larger K, and a family that contains another, is never lower."""
    sound = [cell for cell in grid.cells if cell.sound]
    for cell in sound:
        for other in sound:
            larger = other.family == cell.family and other.components > cell.components
            wider = other.components == cell.components and cell.family in contained(other.family)
            if larger or wider:
                slack = 1e-8 * cell.number("parameters") * 300
                assert other.number("log_likelihood") >= cell.number("log_likelihood") - slack


@pytest.fixture(scope="module", params=["faithful", "penguins"])
def reference(request: pytest.FixtureRequest) -> tuple[str, Grid]:
    return request.param, fitted(table(request.param), range(1, 7), LEARNED)


def test_every_reference_cell_is_matched_or_bettered(reference: tuple[str, Grid]) -> None:
    name, grid = reference
    cells = [row for row in CELLS if row[0] == name]
    assert len(cells) == 18
    for _, family, components, log_likelihood, *_ in cells:
        assert level(grid, family, components) >= log_likelihood - 1e-3


def test_no_cell_is_below_one_that_it_contains(reference: tuple[str, Grid]) -> None:
    assert_nested(reference[1])


def test_the_best_cell_is_sound_and_has_the_least_criterion(reference: tuple[str, Grid]) -> None:
    grid = reference[1]
    assert grid.best.sound
    assert grid.best.number("bic") == min(cell.number("bic") for cell in grid.cells if cell.sound)


@pytest.mark.usefixtures("blas")
def test_the_same_seed_gives_the_same_table_for_any_number_of_threads() -> None:
    rows = []
    for threads in (1, 2):
        grid = fitted(clusters(), [1, 2, 3], ["full", "tied"], threads=threads, seed=3)
        rows.append([{**cell.row(), "seconds": None} for cell in grid.cells])
    assert rows[0] == rows[1]


@pytest.mark.parametrize("seed", range(2))
def test_a_cell_whose_random_starts_end_low_goes_on_from_simpler_ones(seed: int) -> None:
    """One bad start a cell, of clusters that it mostly misses."""
    draw = torch.Generator().manual_seed(seed)
    centres = 20 * torch.randn(8, 2, generator=draw, dtype=torch.float64)
    x = centres[torch.arange(400) % 8] + torch.randn(400, 2, generator=draw, dtype=torch.float64)
    grid = fitted(x, range(1, 9), ["isotropic", "full"], restarts=1, init="random", seed=seed)
    assert_nested(grid)
    assert sum(cell.sound for cell in grid.cells) >= 12


def test_a_cell_that_stays_low_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the simpler fits as starts do not help, as when they are taken away."""
    monkeypatch.setattr(grids, "_grown", lambda *_: [])
    real = grids.fit_rows

    def worse(rows: Any, options: FitOptions, **how: Any) -> Any:
        result = yield from real(rows, options, **how)
        return replace(result, log_likelihood=-1e6) if options.components == 2 else result

    monkeypatch.setattr(grids, "fit_rows", worse)
    grid = fitted(clusters(), [1, 2], ["full"])
    assert grid.cells[1].reason == (
        "a lower log-likelihood than full with 1, and no sound fit above that was found: use that one"
    )
    assert grid.best is grid.cells[0]


def test_cells_that_fail_do_not_end_the_grid() -> None:
    x = clusters()[:4]
    grid = fitted(x, [1, 2, 9], ["isotropic"])
    assert grid.cells[2].failed
    assert "9 components for 4 distinct rows" in str(grid.cells[2].reason)
    assert math.isnan(grid.cells[2].number("bic"))
    with pytest.raises(InputError, match="every cell of the grid failed, the first with: 8 components for 4"):
        fitted(x, [8, 9], ["isotropic"])


def test_a_column_that_some_families_cannot_take_fails_only_their_cells() -> None:
    x = torch.cat([clusters(), torch.ones(300, 1, dtype=torch.float64)], 1)
    grid = fitted(x, [1, 2], ["isotropic", "diagonal"])
    assert [cell.failed for cell in grid.cells] == [False, False, True, True]
    assert "x3: all values are equal" in str(grid.cells[2].reason)


def test_rows_that_no_fit_can_take_are_an_error() -> None:
    with pytest.raises(InputError):
        fitted(torch.zeros(0, 2, dtype=torch.float64), [1, 2], ["full"])


def test_holdout_is_the_log_likelihood_of_rows_left_out() -> None:
    x = clusters()
    grid = fitted(x, [1, 2, 3, 4], ["full"], criterion="holdout", folds=4)
    assert grid.best.components == 3
    values = [cell.number("holdout") for cell in grid.cells]
    assert all(cell.number("log_likelihood") / len(x) > value for cell, value in zip(grid.cells, values, strict=True))
    assert values[2] == pytest.approx(-4.0, abs=0.3)


def test_more_folds_than_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="folds=400: there are 300 rows"):
        fitted(clusters(), [1], ["full"], criterion="holdout", folds=400)


def test_a_cell_that_lost_components_is_not_trusted_as_what_it_is_not() -> None:
    x = torch.cat([clusters(rows=60), torch.full((5, 2), 3.0).double()])
    grid = fitted(x, [3, 8], ["full"], on_collapse="drop", restarts=2)
    for cell in grid.cells:
        assert cell.model is not None
        assert cell.model.components == cell.components or "are left of it" in str(cell.reason)
    assert grid.cells[1].reason is not None


@pytest.mark.parametrize("criterion", ["bic", "icl", "aic"])
def test_criteria_choose_by_themselves(criterion: str) -> None:
    grid = fitted(clusters(), [1, 2, 3, 4], ["isotropic", "full"], criterion=criterion)
    sound = [cell for cell in grid.cells if cell.sound]
    assert grid.best.number(criterion) == min(cell.number(criterion) for cell in sound)


def test_the_given_variance_is_that_of_its_family_alone() -> None:
    grid = fitted(clusters(), [1, 3], ["constant", "isotropic"], variance=2.0)
    assert grid.cells[0].family == "constant"
    assert grid.cells[1].model is not None
    assert float(grid.cells[1].model.covariances[0, 0, 0].detach()) == pytest.approx(2.0)
    assert_nested(grid)


@pytest.mark.parametrize("options", [{"method": "gradient", "iterations": 100}, {"noise": True}, {"prior": True}])
def test_every_kind_of_fit_can_be_chosen_among(options: dict[str, Any]) -> None:
    grid = fitted(clusters(), [1, 2, 3], ["isotropic", "full"], restarts=2, **options)
    assert not any(cell.failed for cell in grid.cells)
    assert grid.best.components == 3


def test_a_watcher_is_told_of_every_fit_and_every_cell() -> None:
    told: list[tuple[Any, ...]] = []

    class Told(Watcher):
        def begins(self, family: str, components: int, purpose: str) -> None:
            told.append((family, components, purpose))

        def ends(self, cell: Cell) -> None:
            told.append((cell.family, cell.components))

    fitted(clusters(), [1, 2], ["isotropic"], criterion="holdout", folds=2, watcher=Told())
    assert told[:4] == [
        ("isotropic", 1, ""), ("isotropic", 1, "fold 1 of 2"), ("isotropic", 1, "fold 2 of 2"), ("isotropic", 1)
    ]  # fmt: skip


def test_of_unsound_cells_the_best_is_chosen_only_where_none_is_sound() -> None:
    def cell(bic: float, reason: str | None, parameters: int = 1) -> Cell:
        return Cell(
            "full",
            1,
            None,
            {"bic": bic, "parameters": parameters},
            cause=None if reason is None else Cause(reason, reason),
        )

    assert best([cell(1, "flat"), cell(2, None)], "bic") == cell(2, None)
    assert best([cell(1, "flat"), cell(0, "flat")], "bic") == cell(0, "flat")
    assert best([cell(math.nan, "failed")], "bic") is None
    assert best([cell(1, None, 5), cell(1, None, 3)], "bic") == cell(1, None, 3)


def test_families_contain_what_their_mixtures_can_be() -> None:
    order = simplest_first()
    assert sorted(order) == sorted(FAMILIES)
    assert contained("full") == set(FAMILIES) - {"full"}
    kinds = [get_family(name).coordinates for name in order]
    assert len(list(dict.fromkeys(kinds))) == sum(a != b for a, b in zip(["", *kinds], kinds, strict=False))
    for name in order:
        assert all(order.index(other) < order.index(name) for other in contained(name))


@pytest.mark.parametrize(
    ("text", "numbers"), [("5", [5]), ("1:3", [1, 2, 3]), ("2,4:6", [2, 4, 5, 6]), ("3,1,3", [1, 3]), ("4:4", [4])]
)
def test_components_are_numbers_and_ranges(text: str, numbers: list[int]) -> None:
    assert parse_components(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "0", "3:1", "1:", "1,,2", "-1", "1.5", "1:99999999"])
def test_other_components_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="components="):
        parse_components(text)


def test_all_families_are_those_that_learn_their_variance_unless_one_is_given() -> None:
    assert parse_families("all", False) == LEARNED
    assert parse_families("all", True) == list(FAMILIES)
    assert parse_families("tied, full,tied", False) == ["tied", "full"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "dic"}, "criterion='dic': there is no such choice: choose one of bic, icl, aic, holdout"),
        ({"families": ["fulll"]}, "family='fulll': there is no such family"),
        ({"folds": 3}, "folds=3: has no effect with criterion bic: give criterion='holdout'"),
        ({"folds": 1, "criterion": "holdout"}, "folds=1: must be at least 2"),
        ({"components": []}, "must be at least 1"),
    ],
)
def test_grids_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GridOptions(**({"components": [1, 2], "families": ["full"]} | options))
