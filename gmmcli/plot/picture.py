"""`Picture`: the numbers of a mixture and its data that are drawn.

- `picture`: makes one. `ELLIPSES`, `MASSES`: which ellipses and contours it has.
- `ellipses`, `density`, `levels`: curves of a mixture of two coordinates, its density, the densities at its contours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot.coordinates import Coordinates, choose_coordinates, marginal
from gmmcli.plot.rows import RowSample, sample_rows

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

    @property
    def weighted(self) -> bool:
        """Whether some rows weigh more than others."""
        return bool((self.weights < 1).any())

    def limits(self) -> np.ndarray:
        """Least and greatest coordinates, (2, d), of the points, the ellipses and, in a plane, the contours."""
        found = [_bounds(self.mixture, LINE_REACH if self.dims == 1 else max(ELLIPSES))]
        if self.dims == 2:
            found.append(_reach(marginal(self.mixture, (0, 1), background=False)))
        if self.points.size:
            found += [np.fmin.reduce(self.points, 0)[None], np.fmax.reduce(self.points, 0)[None]]
        stacked = np.concatenate(found)
        return np.stack([np.nanmin(stacked, 0), np.nanmax(stacked, 0)])


def picture(
    data: Any,
    model: GaussianMixture,
    *,
    columns: Sequence[str] | None = None,
    projection: str | None = None,
    coordinates: Coordinates | None = None,
    weights: Any = None,
) -> Picture:
    """The picture of a mixture and of data or None; `coordinates` are chosen by choose_coordinates unless given."""
    coordinates = coordinates or choose_coordinates(model, columns, projection)
    sample = sample_rows(data, model, coordinates, weights)
    rows = "" if sample is None else sample.caption()
    sample = sample or RowSample(torch.empty(0, model.dims), 0)
    relative = _relative(sample)
    by_weight = BY_WEIGHT[min(coordinates.dims, len(BY_WEIGHT)) - 1] if (relative < 1).any() else ""
    sizes = f"{model.components} component{'s' if model.components > 1 else ''}, family {model.family}"
    with torch.no_grad():
        components = model.assign(sample.x, marginal=True) if len(sample.x) else torch.empty(0, dtype=torch.int64)
    return Picture(
        coordinates,
        coordinates.of_model(model),
        model.weights.detach().cpu().numpy(),
        0.0 if model.background is None else model.background.item(),
        coordinates.of_rows(sample.x),
        components.cpu().numpy(),
        relative,
        caption=" · ".join(part for part in (rows, by_weight, sizes, coordinates.note) if part),
    )


def _relative(sample: RowSample) -> np.ndarray:
    """The weights of the rows against the heaviest, (B,)."""
    if sample.weights is None or not len(sample.weights):
        return np.ones(len(sample.x))
    return (sample.weights / sample.weights.max()).clamp(min=LEAST_WEIGHT).cpu().numpy()


@torch.no_grad()
def moments(mixture: GaussianMixture) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of the components, (K, d) each."""
    return mixture.means.numpy(), mixture.covariances.diagonal(dim1=1, dim2=2).sqrt().numpy()


@torch.no_grad()
def density(
    mixture: GaussianMixture,
    points: np.ndarray,  # (B, d)
) -> np.ndarray:
    """p(x), (B,)."""
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


def mesh_of(
    corners: np.ndarray,  # (2, 2) least and greatest coordinates
    cells: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of a mesh between two corners, (2, cells), and its points, (cells², 2), row by row."""
    sides = np.linspace(corners[0], corners[1], cells).T
    return sides, np.stack(np.meshgrid(*sides), -1).reshape(-1, 2)


def _reach(mixture: GaussianMixture) -> np.ndarray:
    """Coordinates, (B, 2), around the positions where the density exceeds its lowest level, in a wide window."""
    corners = _bounds(mixture, WINDOW)
    _, mesh = mesh_of(corners, MESH)
    inside = mesh[density(mixture, mesh) >= levels(mixture)[0]]
    cell = (corners[1] - corners[0]) / (MESH - 1)
    return np.concatenate([inside - cell, inside + cell])


def _bounds(mixture: GaussianMixture, radius: float) -> np.ndarray:
    """Coordinates, (2 or 4, d), of the ends of the components at so many standard deviations and of the box."""
    means, std = moments(mixture)
    ends = np.stack([(means - radius * std).min(0), (means + radius * std).max(0)])
    return ends if mixture.box is None else np.concatenate([ends, mixture.box.numpy()])
