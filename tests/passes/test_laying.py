"""Rows laid out: the coordinates, and that a row's bits do not depend on where its block is cut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gmmcli.families.linear import Affine
from gmmcli.passes.laying import LEAST_ROWS, MOST_ROWS, lay_out, laying, put, slab_rows

ROWS = 700
pytestmark = pytest.mark.usefixtures("blas")


def affine(kind: str, dims: int) -> Affine:
    draw = torch.Generator().manual_seed(dims)
    shift = 100 * torch.randn(dims, generator=draw, dtype=torch.float64)
    std = torch.rand(dims, generator=draw, dtype=torch.float64) + 0.5
    if kind == "scalar":
        return Affine(shift, std[0])
    if kind == "columns":
        return Affine(shift, std)
    factor = torch.randn(dims, dims, generator=draw, dtype=torch.float64).tril(-1) / dims + std.diag()
    if kind == "badly conditioned":
        factor[-1, -1] = 1e-9
    return Affine(shift, factor)


def laid_out(
    cells: Tensor, by: Affine, part: int, observed: Tensor | None = None, dtype: torch.dtype = torch.float64
) -> Tensor:
    """z of all cells, in parts of so many rows, each by a worker of its own, slab by slab."""
    z = torch.ones(1 + (1 if observed is None else 2) * len(cells), cells.shape[1], dtype=dtype)
    size = slab_rows(len(cells))
    for start in range(0, cells.shape[1], part):
        slab, end = laying(by), min(start + part, cells.shape[1])
        for first in range(start, end, size):
            rows = slice(first, min(first + size, end))
            put(lay_out(cells[:, rows], slab), None if observed is None else observed[:, rows], z[:, rows])
    return z


@pytest.mark.parametrize("dims", [1, 2, 4, 7, 33, 130])
@pytest.mark.parametrize("kind", ["scalar", "columns", "whitened", "badly conditioned"])
def test_a_row_does_not_depend_on_where_its_block_is_cut(kind: str, dims: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gmmcli.passes.laying.MOST_ROWS", 128)
    by, draw = affine(kind, dims), torch.Generator().manual_seed(1)
    assert (by.inverse_factor is not None) == (kind == "whitened" or (kind == "badly conditioned" and dims == 1))
    cells = by.shift[:, None] + torch.randn(dims, ROWS, generator=draw, dtype=torch.float64)
    whole = laid_out(cells, by, ROWS)
    assert bool((whole[0] == 1).all())
    torch.testing.assert_close(by.outer(whole[1:].mT).mT, cells, rtol=1e-9, atol=1e-9)
    for slabs in (1, 2, 3):
        assert torch.equal(laid_out(cells, by, slabs * 128), whole)
    assert torch.equal(laid_out(cells.mT.contiguous().mT, by, ROWS), whole), "however the cells are held"
    assert torch.equal(laid_out(cells[:, :300], by, ROWS), whole[:, :300]), "whatever comes after it"
    if by.factor.ndim < 2:
        assert torch.equal(laid_out(cells[:, 7:], by, 50), whole[:, 7:]), "wherever it is"


def test_slabs_are_powers_of_2_that_a_cache_holds():
    sizes = [slab_rows(dims) for dims in range(1, 2000)]
    assert all(size & (size - 1) == 0 and LEAST_ROWS <= size <= MOST_ROWS for size in sizes)
    assert sizes == sorted(sizes, reverse=True)
    assert slab_rows(16) == MOST_ROWS
    assert slab_rows(128) == 512


@pytest.mark.parametrize("kind", ["columns", "whitened"])
def test_precisions(kind: str):
    by = affine(kind, 3)
    cells = (by.shift[:, None] + torch.randn(3, 50, generator=torch.Generator().manual_seed(2))).float()
    whole = laid_out(cells.double(), by, 50)
    assert torch.equal(laid_out(cells, by, 50), whole), "cells of float32 are shifted in float64"
    assert torch.equal(laid_out(cells, by, 50, dtype=torch.float32), whole.float())


def test_missing_cells_are_zeros_that_are_told():
    by = affine("columns", 2)
    cells = torch.tensor([[1.0, torch.nan, 3.0], [torch.nan, 5.0, 6.0]], dtype=torch.float64)
    z = laid_out(cells, by, 3, ~cells.isnan())
    assert z[1:3].isnan().sum() == 0
    assert z[3:].tolist() == [[1, 0, 1], [0, 1, 1]]
    assert z[1, 1] == z[2, 0] == 0
    assert z[1, 2] == (3 - by.shift[0]) / by.factor[0]
