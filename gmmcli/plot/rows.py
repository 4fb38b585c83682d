"""Which rows a picture shows: `RowSample`, and `RowSampler`, which takes it from data of any length.

A row is kept by a hash of its number: the same rows whoever reads them. They are held in the order of the hash, so
that no part of a file is drawn on top of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import InputError, UsageError
from gmmcli.model.frames import read_table, row_weights
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.draws import row_uniforms
from gmmcli.plot.coordinates import Coordinates

MOST_ROWS = 20_000  # of a picture
GRID_ROWS = 5_000  # of each of the many panels of a grid
MOST_NUMBERS = 1 << 23  # in the rows of a sample


@dataclass(frozen=True)
class RowSample:
    """Rows to draw, x (B, D), of `rows` rows that could be drawn; `left_out` more lack the cells for it.

    weights: (B,) positive row weights, or None when every row weighs 1. Rows of weight 0 are in none of the numbers.
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
    """Takes a sample of rows that come in blocks, in memory that does not depend on their number."""

    def __init__(self, coordinates: Coordinates, dims: int) -> None:
        self._coordinates = coordinates
        most = GRID_ROWS if coordinates.dims > 2 else MOST_ROWS
        self._most = max(1, min(most, MOST_NUMBERS // dims))
        self._keys = torch.empty(0, dtype=torch.float64)
        self._x = torch.empty(0, dims, dtype=torch.float64)
        self._weights = torch.empty(0, dtype=torch.float64)
        self._rows = 0
        self._left_out = 0

    def add(
        self,
        first_row: int,
        x: Tensor,  # (B, D)
        weights: Tensor | None = None,  # (B,)
    ) -> None:
        """Rows numbered from `first_row`; of those that cannot be drawn only their number is kept.

        weights: of the rows, not negative; without them each weighs 1. One of weight 0 counts as no row.
        """
        weights = torch.ones(len(x), dtype=torch.float64) if weights is None else weights
        there = weights > 0
        shown = self._coordinates.shows(x) & there
        keys = row_uniforms(0, "plot", first_row + torch.arange(len(x)))
        self._rows += int(shown.sum())
        self._left_out += int((there & ~shown).sum())
        if len(self._keys) == self._most:
            shown &= keys < self._keys[-1]
        keys, order = torch.cat([self._keys, keys[shown]]).sort()
        self._keys = keys[: self._most]
        order = order[: self._most]
        self._x = torch.cat([self._x, x[shown].double()])[order]
        self._weights = torch.cat([self._weights, weights[shown].double()])[order]

    def sample(self, dropped: int = 0) -> RowSample:
        """The rows of all blocks so far; `dropped` more did not reach it, for missing cells."""
        return RowSample(self._x, self._rows, self._left_out + dropped, self._weights)


def sample_rows(data: Any, model: GaussianMixture, coordinates: Coordinates, weights: Any = None) -> RowSample | None:
    """The rows of a table in memory to draw: a kind that GaussianMixture takes, a RowSample as it is, or None.

    weights: of the rows of the table, (N,); a RowSample has its own.
    """
    if data is None or isinstance(data, RowSample):
        if weights is not None:
            raise UsageError("weights are of the rows of a table: leave them out where there is none")
        return data
    named = not isinstance(data, Tensor) and model.columns is not None
    x, _, _ = read_table(data, model.columns if named else None)
    if x.shape[1] != model.dims:
        raise InputError(f"data has {x.shape[1]} columns: the model has {model.dims}")
    sampler = RowSampler(coordinates, model.dims)
    sampler.add(0, x.detach().cpu(), row_weights(weights, len(x)))
    return sampler.sample()
