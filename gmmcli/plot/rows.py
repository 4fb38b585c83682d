"""The rows that a picture shows: `RowSample`, and `RowSampler`, which takes it from data of any length.

A row is in the sample by a hash of its number, so whoever reads the rows takes the same ones. They stand in the order
of the hash, so that no part of a file is drawn on top of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import InputError, Option, UsageError
from gmmcli.model.frames import read_table, row_weights
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.execution import ALONE, Group
from gmmcli.plot.coordinates import Coordinates

MOST_ROWS = 20_000  # of a picture
GRID_ROWS = 5_000  # of each of the many panels of a grid
MOST_NUMBERS = 1 << 23  # in the rows of a sample


@dataclass(frozen=True)
class RowSample:
    """Rows to draw, x (B, D), of `rows` rows that could be drawn; `left_out` more lack the cells for it.

    weights: (B,) positive row weights, or None when every row weighs 1. Rows of weight 0 count nowhere.
    """

    x: Tensor  # (B, D)
    rows: int
    left_out: int = 0
    weights: Tensor | None = None  # (B,)

    def caption(self) -> str:
        """`20,000 of 1,000,000 rows shown, 3 left out for missing cells`."""
        shown = len(self.x)
        text = f"{shown:,} of {self.rows:,} rows shown" if shown < self.rows else f"{shown:,} rows"
        return text + (f", {self.left_out:,} left out for missing cells" if self.left_out else "")


class RowSampler:
    """Fold that samples rows for a picture, in memory that does not depend on their number.

    dims: D, the columns of the rows. most: size of the sample; by default what the picture can show.
    """

    def __init__(self, coordinates: Coordinates, dims: int, most: int | None = None) -> None:
        self._coordinates = coordinates
        self._most = most or max(1, min(GRID_ROWS if coordinates.dims > 2 else MOST_ROWS, MOST_NUMBERS // dims))
        self._numbers = torch.empty(0, dtype=torch.int64)  # of the rows in the sample
        self._x = torch.empty(0, dims, dtype=torch.float64)
        self._weights = torch.empty(0, dtype=torch.float64)
        self._counts = torch.zeros(2, dtype=torch.int64)  # rows that could be drawn, and others
        self._last = 1.0  # hash of the last row of a full sample

    def add(self, rows: Block) -> None:
        """Takes in rows. Rows of weight 0 count as none, and of those that cannot be drawn only the number counts."""
        x = rows.x
        weights = torch.ones(len(x), dtype=torch.float64) if rows.weights is None else rows.weights.double()
        counted = weights > 0
        shown = self._coordinates.shows(x) & counted
        self._counts += torch.stack([shown.sum(), (counted & ~shown).sum()])
        first = shown & (_hashes(rows.rows) <= self._last)
        self._take(rows.rows[first], x[first], weights[first])

    def merge(self, other: RowSampler) -> None:
        """Takes in the rows of another sampler."""
        self._counts += other._counts
        self._take(other._numbers, other._x, other._weights)

    def result(self, group: Group = ALONE) -> RowSample:
        """The sample of the rows of all processes."""
        whole = RowSampler(self._coordinates, self._x.shape[1], self._most)
        whole._take(*(group.joined(part) for part in (self._numbers, self._x, self._weights)))
        rows, left_out = group.sum(self._counts).tolist()
        return RowSample(whole._x, rows, left_out, whole._weights)

    def _take(self, numbers: Tensor, x: Tensor, weights: Tensor) -> None:
        """Adds rows to the sample, which stays the first by hash, then by row number."""
        numbers, order = torch.cat([self._numbers, numbers]).sort()
        hashes, by_hash = _hashes(numbers).sort(stable=True)
        order = order[by_hash][: self._most]
        self._numbers = numbers[by_hash][: self._most]
        self._x = torch.cat([self._x, x])[order]
        self._weights = torch.cat([self._weights, weights])[order]
        if len(order) == self._most:
            self._last = float(hashes[self._most - 1])


def _hashes(numbers: Tensor) -> Tensor:
    """Numbers in (0, 1), (B,), from those of rows."""
    return row_uniforms(0, "plot", numbers)


def sample_rows(data: Any, model: GaussianMixture, coordinates: Coordinates, weights: Any = None) -> RowSample | None:
    """The rows to draw of a table in memory; a RowSample or None stays as it is.

    data: any table that GaussianMixture takes. weights: (N,) of its rows; a RowSample has its own.
    """
    if data is None or isinstance(data, RowSample):
        if weights is not None:
            raise UsageError("given without a table of rows", subject=Option("weights"), remedy="leave them out")
        return data
    named = not isinstance(data, Tensor) and model.columns is not None
    x, _, _ = read_table(data, model.columns if named else None)
    if x.shape[1] != model.dims:
        raise InputError(f"{x.shape[1]} columns: the model has {model.dims}", subject="data")
    sampler = RowSampler(coordinates, model.dims)
    sampler.add(Block(0, 0, x.detach().cpu(), row_weights(weights, len(x))))
    return sampler.result()
