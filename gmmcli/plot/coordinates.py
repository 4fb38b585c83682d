"""Which coordinates of a mixture a picture has: columns of the data, or principal components of some of them.

- `Coordinates`: the way from rows, and from any mixture of the same columns, to the picture.
- `choose_coordinates`: those of a picture, by what the user asks for and what the mixture is like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gmmcli.errors import InputError, UsageError
from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot.marginal import Marginal
from gmmcli.storage.names import listing, printable

SHOWN_COLUMNS = 6  # of a grid that nobody chose the columns of
MOST_COLUMNS = 16  # of a grid
PROJECTIONS = ("pca",)


@dataclass(frozen=True)
class Projection:
    """(x − centre) · lift_i over some columns, for each coordinate i."""

    centre: Tensor  # (columns,)
    lift: Tensor  # (d, columns)


@dataclass(frozen=True)
class Coordinates:
    """d coordinates, each a column or a projection of the columns.

    columns: their places in the model. labels: of the coordinates, for the axes. note: how the columns were chosen
    where nobody chose them, else empty.
    """

    columns: tuple[int, ...]
    labels: tuple[str, ...]
    projection: Projection | None = None
    note: str = ""

    @property
    def dims(self) -> int:
        """d."""
        return len(self.labels)

    def of_rows(
        self,
        x: Tensor,  # (B, D)
    ) -> np.ndarray:
        """The rows in these coordinates, (B, d) float64; NaN where a cell is missing that is needed."""
        chosen = x[:, list(self.columns)].double().cpu()
        if self.projection is not None:
            chosen = (chosen - self.projection.centre) @ self.projection.lift.mT
        return chosen.numpy()

    def shows(
        self,
        x: Tensor,  # (B, D)
    ) -> Tensor:
        """Whether a row has what some panel of the picture needs, (B,) bool."""
        there = x[:, list(self.columns)].isfinite()
        return there.any(1) if self.projection is None and self.dims > 2 else there.all(1)

    def of_model(self, model: GaussianMixture) -> Marginal:
        """The mixture in these coordinates. A background is uniform in columns only, and left out of projections."""
        with torch.no_grad():
            means, covariances = _moments(model, self.columns)
            if self.projection is not None:
                lift = self.projection.lift
                means = (means - self.projection.centre) @ lift.mT
                covariances = lift @ covariances @ lift.mT
            box = None
            if model.box is not None and self.projection is None:
                box = model.box[:, list(self.columns)].cpu().numpy()
            background = 0.0 if model.background is None else float(model.background)
            arrays = (t.detach().cpu().numpy() for t in (model.weights, means, covariances))
            return Marginal(*arrays, background=background, box=box)


def choose_coordinates(
    model: GaussianMixture, columns: Sequence[str] | None = None, projection: str | None = None
) -> Coordinates:
    """The coordinates of a picture of this mixture.

    columns: names of its columns, in order; None is all or, where they are more than SHOWN_COLUMNS, those that tell
    the components apart best. projection: "pca" for the first two principal components of the columns, in units
    of their standard deviations under the mixture.

    Raises UsageError for what cannot be drawn, InputError for a column that the model does not have.
    """
    names = model.columns or tuple(f"x{d + 1}" for d in range(model.dims))
    if projection is not None and projection not in PROJECTIONS:
        raise UsageError(f"unknown projection {projection!r}: choose {', '.join(PROJECTIONS)}")
    absent = [name for name in columns or () if name not in names]
    if absent:
        raise InputError(f"no column {listing(absent)}: the model has {listing(names)}")
    chosen = range(len(names)) if columns is None else [names.index(name) for name in dict.fromkeys(columns)]
    places = tuple(chosen)
    if not places:
        raise UsageError("columns is empty: name at least one")
    if projection is not None:
        return _principal(model, places)
    note = ""
    if columns is None and len(places) > SHOWN_COLUMNS:
        places = _telling(model, SHOWN_COLUMNS)
        note = f"{len(places)} of {len(names)} columns shown, those that tell the components apart best"
    if len(places) > MOST_COLUMNS:
        raise UsageError(f"{len(places)} columns: a grid has at most {MOST_COLUMNS}: name fewer, or project them")
    return Coordinates(places, tuple(printable(names[d]) for d in places), note=note)


def _telling(model: GaussianMixture, count: int) -> tuple[int, ...]:
    """Places of the columns whose means vary most between components against the variance within them, in order."""
    with torch.no_grad():
        parts = [_moments(model, (d,)) for d in range(model.dims)]
        means = torch.cat([m for m, _ in parts], 1)  # (K, D)
        weights = model.weights.cpu()
        within = weights @ torch.cat([c[:, :, 0] for _, c in parts], 1)
        middle = weights @ means / weights.sum()
        between = weights @ (means - middle).square()
        order = (between / within).sort(descending=True, stable=True).indices
    return tuple(sorted(order[:count].tolist()))


def _principal(model: GaussianMixture, places: tuple[int, ...]) -> Coordinates:
    if len(places) < 2:
        raise UsageError("a projection needs two columns or more: name more, or leave the projection out")
    with torch.no_grad():
        means, covariances = _moments(model, places)
        weights = model.weights.cpu() / model.weights.cpu().sum()
        centre = weights @ means
        apart = means - centre
        total = torch.einsum("k,kde->de", weights, covariances) + (weights * apart.mT) @ apart
        std = total.diagonal().sqrt()
        values, vectors = torch.linalg.eigh(total / (std[:, None] * std))
    directions = vectors.flip(1)[:, :2].mT
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()  # either sign is one of an eigenvector: fixed, to be the same each time
    shares = (values.flip(0)[:2] / values.sum()).tolist()
    labels = tuple(f"PC{i + 1} ({100 * share:.0f} % of variance)" for i, share in enumerate(shares))
    return Coordinates(places, labels, Projection(centre, directions / std))


def _moments(model: GaussianMixture, places: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Means (K, d) and covariances (K, d, d) of these columns, in the units of the data."""
    index = torch.tensor(places, device=model.weights.device)
    family, p = model.kind.marginal(model.parameters_inner, index)
    std = model.std[index]
    covariances = std[:, None] * family.covariances(p.scale, len(places)) * std
    means = model.shift[index] + std * p.means
    return means.cpu(), covariances.expand(model.components, -1, -1).cpu()
