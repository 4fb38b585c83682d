"""Cells on disk: taken up again where data, options and version are the same, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gmmcli.choosing import cells as stores
from gmmcli.choosing import grid as grids
from gmmcli.choosing.cells import Cause, FolderStore, distrusted
from gmmcli.choosing.grid import Grid
from gmmcli.choosing.options import GridOptions
from gmmcli.fitting.options import FitOptions
from gmmcli.passes.block import TableBlocks
from tests.conftest import fit_grid


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Family and components of every fit that is made."""
    made: list[tuple[str, int]] = []
    real = grids.fit_rows

    def counted(rows: Any, options: FitOptions, **how: Any) -> Any:
        made.append((options.family, options.components))
        return real(rows, options, **how)

    monkeypatch.setattr(grids, "fit_rows", counted)
    return made


def run(folder: Path, key: Any = "", shift: float = 0.0, **options: Any) -> Grid:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=draw, dtype=torch.float64)
    x[::2] += 5 + shift
    grid = GridOptions([1, 2], ["isotropic", "full"], options.pop("criterion", "bic"))
    store = FolderStore(str(folder / "cells"), key)
    return fit_grid(TableBlocks(x), FitOptions(restarts=2, **options), grid, store=store)


@pytest.mark.usefixtures("hostile")
def test_finished_cells_are_not_fitted_again(tmp_path: Path, fits: list[tuple[str, int]]) -> None:
    first = run(tmp_path)
    assert len(fits) == 4
    (path,) = tmp_path.glob("cells/full-1-*.pt")
    path.unlink()
    (path,) = tmp_path.glob("cells/isotropic-2-*.pt")
    path.write_bytes(b"cut")
    again = run(tmp_path)
    assert fits[4:] == [("isotropic", 2), ("full", 1)]
    rows = [[{**cell.row(), "seconds": None} for cell in grid.cells] for grid in (first, again)]
    assert rows[0] == rows[1]
    assert torch.equal(first.model.means, again.model.means)


@pytest.mark.parametrize("other", [{"key": "b"}, {"shift": 1e-9}, {"seed": 1}, {"tolerance": 1e-5}])
def test_cells_of_other_data_or_options_are_fitted_anew(
    other: dict[str, Any], tmp_path: Path, fits: list[tuple[str, int]]
) -> None:
    run(tmp_path)
    grid = run(tmp_path, **other)
    assert len(fits) == 8
    assert grid.store is not None
    assert grid.store.remove() == str(tmp_path / "cells")
    run(tmp_path)
    assert len(fits) == 8


def test_the_number_of_threads_is_no_other_option(tmp_path: Path, fits: list[tuple[str, int]]) -> None:
    run(tmp_path, threads=1)
    run(tmp_path, threads=2)
    assert len(fits) == 4


def test_cells_of_another_version_are_fitted_anew(
    tmp_path: Path, fits: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    monkeypatch.setattr(stores, "__version__", "9")
    run(tmp_path)
    assert len(fits) == 8


def test_held_out_log_likelihoods_are_kept_too(tmp_path: Path, fits: list[tuple[str, int]]) -> None:
    first = run(tmp_path, criterion="holdout")
    made = len(fits)
    again = run(tmp_path, criterion="holdout")
    assert len(fits) == made
    assert [cell.holdout for cell in again.cells] == [cell.holdout for cell in first.cells]


def test_why_a_cell_is_not_to_be_trusted_is_kept_too(tmp_path: Path) -> None:
    grid = run(tmp_path)
    cell, options = grid.cells[0], FitOptions(restarts=2, family="isotropic", components=1)
    store = FolderStore(str(tmp_path / "cells"), "")
    store.put(options, distrusted(cell, Cause("flat", "component 0 is nearly flat")))
    kept = store.get(options, cell.metadata["data"]["fingerprint"])
    assert kept is not None
    assert kept.cause == Cause("flat", "component 0 is nearly flat")


def test_what_is_not_of_the_grid_stays(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "notes.txt").write_text("mine")
    grid = run(tmp_path)
    assert grid.store is not None
    assert grid.store.remove() == str(tmp_path / "cells")
    assert [path.name for path in (tmp_path / "cells").iterdir()] == ["notes.txt"]


def test_removed_the_folder_is_gone(tmp_path: Path) -> None:
    grid = run(tmp_path)
    assert grid.store is not None
    assert grid.store.remove() is None
    assert list(tmp_path.iterdir()) == []
