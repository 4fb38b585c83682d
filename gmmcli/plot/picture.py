"""The numbers that a picture shows: a sample of rows, and the mixture.

- `RowSample`, and `RowSampler`, the fold that takes one from data of any length; `sample_rows`: of a table in memory.
- `Picture`: rows and mixture in the coordinates of a picture; `picture` makes one.
- `ellipses`, `density`, `levels`: curves of a mixture of two coordinates, its density, the densities at its contours.

A hash of its number decides whether a row is in the sample: whoever reads the rows takes the same ones. The rows are
drawn in the order of the hash, so that no part of a file lies on top of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmmcli.errors import InputError, Option, UsageError
from gmmcli.model.frames import read_table, row_weights
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.execution import ALONE, Group
from gmmcli.plot.coordinates import Coordinates, marginal

MOST_ROWS = 20_000  # of a picture
GRID_ROWS = 5_000  # of each of the many panels of a grid
MOST_NUMBERS = 1 << 23  # in the rows of a sample
ELLIPSES = (1.0, 2.0)  # standard deviations
MASSES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the mixture, inside its contours
BY_WEIGHT = ("bars by weight", "opacity by weight", "opacity and bars by weight")  # of a line, a plane, a grid
LEAST_WEIGHT = 1e-9  # of a row against the heaviest, so that no sum of weights, or of their squares, underflows
LINE_REACH = 3.0  # standard deviations of a component that a picture of one coordinate shows at least
DRAWS = 4000  # rows of the mixture from which the densities at its contours are found
WINDOW = 6.0  # standard deviations of the components, between which the outermost contour is found
MESH = 240  # cells along each side under the contours
_ANGLES = np.linspace(0, 2 * np.pi, 121)[:-1]


@dataclass(frozen=True)
class RowSample:
    """Rows to draw, x (B, D), of `rows` rows that could be drawn; `left_out` more lack the cells for it.

    Rows of weight 0 count nowhere.
    """

    x: Tensor  # (B, D)
    rows: int
    left_out: int
    weights: Tensor  # (B,) above 0

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
        # Row numbers, x and weights of the sample.
        self._rows = torch.empty(0).long(), torch.empty(0, dims).double(), torch.empty(0).double()
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
        self._take(*other._rows)

    def result(self, group: Group = ALONE) -> RowSample:
        """The sample of the rows of all processes."""
        _, x, _ = self._rows
        whole = RowSampler(self._coordinates, x.shape[1], self._most)
        whole._take(*map(group.joined, self._rows))
        _, x, weights = whole._rows
        rows, left_out = group.sum(self._counts).tolist()
        return RowSample(x, rows, left_out, weights)

    def _take(self, *rows: Tensor) -> None:
        """Adds rows, as numbers, x and weights. The sample stays the first by hash, then by number."""
        numbers, x, weights = map(torch.cat, zip(self._rows, rows, strict=True))
        order = numbers.argsort()
        order = order[_hashes(numbers[order]).argsort(stable=True)][: self._most]
        self._rows = numbers[order], x[order], weights[order]
        if len(order) == self._most:
            self._last = float(_hashes(self._rows[0][-1:]))


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


@dataclass(frozen=True)
class Picture:
    """A mixture in the coordinates of a picture, and the rows drawn with it.

    shares: the weights of the components, which with `background` sum to 1. components: of the rows, −1 for the
    background. weights: of the rows, against the heaviest of them.
    """

    coordinates: Coordinates
    mixture: GaussianMixture
    shares: np.ndarray  # (K,)
    background: float
    points: np.ndarray  # (B, d)
    components: np.ndarray  # (B,) int64
    weights: np.ndarray  # (B,) above 0, the heaviest 1
    caption: str

    @property
    def dims(self) -> int:
        """d: 1 for a histogram, 2 for a plane, more for a grid."""
        return self.coordinates.dims

    def limits(self) -> np.ndarray:
        """Least and greatest coordinates, (2, d), of the points, the ellipses and, in a plane, the contours."""
        found = [_bounds(self.mixture, LINE_REACH if self.dims == 1 else max(ELLIPSES))]
        if self.dims == 2:
            found.append(_reach(marginal(self.mixture, (0, 1), background=False)))
        if self.points.size:
            found += [np.fmin.reduce(self.points, 0)[None], np.fmax.reduce(self.points, 0)[None]]
        stacked = np.concatenate(found)
        return np.stack([np.nanmin(stacked, 0), np.nanmax(stacked, 0)])


@torch.no_grad()
def picture(data: Any, model: GaussianMixture, coordinates: Coordinates, weights: Any = None) -> Picture:
    """The picture of a mixture and of data or None. data, weights: see sample_rows."""
    sample = sample_rows(data, model, coordinates, weights)
    rows = "" if sample is None else sample.caption()
    sample = sample or RowSample(torch.empty(0, model.dims), 0, 0, torch.empty(0))
    relative = sample.weights.cpu().numpy()
    relative = (relative / relative.max(initial=0)).clip(LEAST_WEIGHT)
    by_weight = BY_WEIGHT[min(coordinates.dims, len(BY_WEIGHT)) - 1] if (relative < 1).any() else ""
    sizes = f"{model.components} component{'s' if model.components > 1 else ''}, family {model.family}"
    return Picture(
        coordinates,
        coordinates.of_model(model),
        model.weights.cpu().numpy(),
        0.0 if model.background is None else model.background.item(),
        coordinates.of_rows(sample.x),
        model.assign(sample.x, marginal=True).cpu().numpy(),
        relative,
        caption=" · ".join(part for part in (rows, by_weight, sizes, coordinates.note) if part),
    )


@torch.no_grad()
def moments(mixture: GaussianMixture) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of the components, (K, d) each."""
    return mixture.means.numpy(), mixture.covariances.diagonal(dim1=1, dim2=2).sqrt().numpy()


@torch.no_grad()
def density(mixture: GaussianMixture, points: np.ndarray) -> np.ndarray:
    """p(x), (B,), at points (B, d)."""
    return mixture.log_prob(torch.as_tensor(points)).exp().numpy()


@torch.no_grad()
def ellipses(mixture: GaussianMixture, radius: float) -> np.ndarray:
    """Points on the curves of this many standard deviations, (K, points, 2)."""
    values, vectors = torch.linalg.eigh(mixture.covariances)
    axes = vectors * values.clamp_min(0).sqrt()[:, None]  # Σ = axes · axesᵀ, singular or not
    circle = torch.as_tensor(radius * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)]))
    return (mixture.means[:, None] + (axes @ circle).mT).numpy()


def levels(mixture: GaussianMixture) -> np.ndarray:
    """Densities of two coordinates above which MASSES of the mixture lie, rising, each once.

    They are quantiles of the density at rows drawn from the mixture: a grid would miss narrow components.
    """
    draws = mixture.sample(DRAWS, generator=torch.Generator().manual_seed(0)).numpy()
    return np.unique(np.quantile(density(mixture, draws), [1 - mass for mass in MASSES]))


def density_between(corners: np.ndarray, mixture: GaussianMixture) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates, (2, MESH), of a mesh between two corners, (2, 2), and the density there, (MESH, MESH)."""
    sides = np.linspace(corners[0], corners[1], MESH).T
    points = np.stack(np.meshgrid(*sides), -1).reshape(-1, 2)
    return sides, density(mixture, points).reshape(MESH, MESH)


def _reach(mixture: GaussianMixture) -> np.ndarray:
    """Coordinates, (B, 2), around the positions where the density exceeds its lowest level, in a wide window."""
    corners = _bounds(mixture, WINDOW)
    sides, values = density_between(corners, mixture)
    rows, columns = np.nonzero(values >= levels(mixture)[0])
    inside = np.stack([sides[0, columns], sides[1, rows]], 1)
    cell = (corners[1] - corners[0]) / (MESH - 1)
    return np.concatenate([inside - cell, inside + cell])


def _bounds(mixture: GaussianMixture, radius: float) -> np.ndarray:
    """Coordinates, (2 or 4, d), of the ends of the components at so many standard deviations and of the box."""
    means, std = moments(mixture)
    ends = np.stack([(means - radius * std).min(0), (means + radius * std).max(0)])
    return ends if mixture.box is None else np.concatenate([ends, mixture.box.numpy()])
