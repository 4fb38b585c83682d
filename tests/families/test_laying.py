"""Rows laid out: the coordinates, and that a row's bits do not depend on how many rows are laid out with it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gmmcli.families.coordinates import Affine
from gmmcli.families.laying import LEAST_COLUMNS, lay_out, laying

ROWS = 700


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
    cells: Tensor, by: Affine, parts: int, observed: Tensor | None = None, dtype: torch.dtype = torch.float64
) -> Tensor:
    features = 1 + (1 if observed is None else 2) * len(cells)
    found, first = [], 0
    for part in cells.tensor_split(parts, 1):
        rows = part.shape[1]
        place = laying(by, torch.empty(features, max(rows, LEAST_COLUMNS), dtype=dtype), rows)
        lay_out(part, None if observed is None else observed[:, first : first + rows], place)
        found.append(place.z.clone())
        first += rows
    return torch.cat(found, 1)


@pytest.mark.parametrize("dims", [1, 2, 4, 7, 33, 130])
@pytest.mark.parametrize("kind", ["scalar", "columns", "whitened", "badly conditioned"])
def test_a_row_does_not_depend_on_those_beside_it(kind: str, dims: int):
    by, draw = affine(kind, dims), torch.Generator().manual_seed(1)
    assert (by.inverse_factor is not None) == (kind == "whitened" or (kind == "badly conditioned" and dims == 1))
    cells = by.shift[:, None] + torch.randn(dims, ROWS, generator=draw, dtype=torch.float64)
    whole = laid_out(cells, by, 1)
    assert bool((whole[0] == 1).all())
    torch.testing.assert_close(by.outer(whole[1:].mT).mT, cells, rtol=1e-9, atol=1e-9)
    for parts in (2, 3, 11, ROWS):
        assert torch.equal(laid_out(cells, by, parts), whole)
    assert torch.equal(laid_out(cells.mT.contiguous().mT, by, 3), whole), "however the cells are held"


@pytest.mark.parametrize("kind", ["columns", "whitened"])
def test_precisions(kind: str):
    by = affine(kind, 3)
    cells = (by.shift[:, None] + torch.randn(3, 50, generator=torch.Generator().manual_seed(2))).float()
    whole = laid_out(cells.double(), by, 1)
    assert torch.equal(laid_out(cells, by, 4), whole), "cells of float32 are shifted in float64"
    assert torch.equal(laid_out(cells, by, 4, dtype=torch.float32), whole.float())


def test_missing_cells_are_zeros_that_are_told():
    by = affine("columns", 2)
    cells = torch.tensor([[1.0, torch.nan, 3.0], [torch.nan, 5.0, 6.0]], dtype=torch.float64)
    z = laid_out(cells, by, 2, ~cells.isnan())
    assert z[1:3].isnan().sum() == 0
    assert z[3:].tolist() == [[1, 0, 1], [0, 1, 1]]
    assert z[1, 1] == z[2, 0] == 0
    assert z[1, 2] == (3 - by.shift[0]) / by.factor[0]
