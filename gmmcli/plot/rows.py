"""Which rows a picture shows: `RowSample`, and `RowSampler`, which takes it from data of any length.

A row is kept by a hash of its number: the same rows whoever reads them. They are held in the order of the hash, so
that no part of a file is drawn on top of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmmcli.draws import row_uniforms
from gmmcli.errors import InputError
from gmmcli.frames import read_table
from gmmcli.mixture import GaussianMixture
from gmmcli.plot.coordinates import Coordinates

MOST_ROWS = 20_000  # of a picture
GRID_ROWS = 5_000  # of each of the many panels of a grid
MOST_NUMBERS = 1 << 23  # in the rows of a sample


@dataclass(frozen=True)
class RowSample:
    """Rows to draw, x (B, D), of `rows` rows that could be drawn; `left_out` more lack the cells for it."""

    x: Tensor  # (B, D)
    rows: int
    left_out: int = 0

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
        self._rows = 0
        self._left_out = 0

    def add(
        self,
        first_row: int,
        x: Tensor,  # (B, D)
    ) -> None:
        """Rows numbered from `first_row`; of those that cannot be drawn only their number is kept."""
        shown = self._coordinates.shows(x)
        keys = row_uniforms(0, "plot", first_row + torch.arange(len(x)))
        self._rows += int(shown.sum())
        self._left_out += int((~shown).sum())
        if len(self._keys) == self._most:
            shown &= keys < self._keys[-1]
        keys, order = torch.cat([self._keys, keys[shown]]).sort()
        self._keys = keys[: self._most]
        self._x = torch.cat([self._x, x[shown].double()])[order[: self._most]]

    def sample(self, dropped: int = 0) -> RowSample:
        """The rows of all blocks so far; `dropped` more did not reach it, for missing cells."""
        return RowSample(self._x, self._rows, self._left_out + dropped)


def sample_rows(data: Any, model: GaussianMixture, coordinates: Coordinates) -> RowSample | None:
    """The rows of a table in memory to draw: a kind that GaussianMixture takes, a RowSample as it is, or None."""
    if data is None or isinstance(data, RowSample):
        return data
    named = not isinstance(data, Tensor) and model.columns is not None
    x, _, _ = read_table(data, model.columns if named else None)
    if x.shape[1] != model.dims:
        raise InputError(f"data has {x.shape[1]} columns: the model has {model.dims}")
    sampler = RowSampler(coordinates, model.dims)
    sampler.add(0, x.detach().cpu())
    return sampler.sample()
