"""Coordinates of a picture: columns of the data, or principal components of some of them.

- `Coordinates`: maps rows, and any mixture of the same columns, to the coordinates of the picture.
- `choose_coordinates`: the coordinates that the user asks for, or those that suit the mixture.
- `marginal`: the mixture of some columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gmmcli.errors import InputError, Option, Remedy, UsageError
from gmmcli.model.mixture import GaussianMixture
from gmmcli.storage.names import listing, printable

SHOWN_COLUMNS = 6  # of a grid whose columns nobody chose
MOST_COLUMNS = 16  # of a grid


@dataclass(frozen=True)
class Projection:
    """The linear map A (x − centre)."""

    centre: Tensor  # (columns,)
    lift: Tensor  # (d, columns): A


@dataclass(frozen=True)
class Coordinates:
    """d coordinates, each a column or a projection of the columns.

    columns: their indices in the model. labels: of the coordinates, for the axes. note: how the columns were chosen,
    empty if the user chose them.
    """

    columns: tuple[int, ...]
    labels: tuple[str, ...]
    projection: Projection | None = None
    note: str = ""

    @property
    def dims(self) -> int:
        """d."""
        return len(self.labels)

    def of_rows(self, x: Tensor) -> np.ndarray:
        """Rows (B, D) in these coordinates, (B, d) float64; NaN where a cell is missing that is needed."""
        chosen = x[:, list(self.columns)].double().cpu()
        if self.projection is not None:
            chosen = (chosen - self.projection.centre) @ self.projection.lift.mT
        return chosen.numpy()

    def shows(self, x: Tensor) -> Tensor:
        """Mask (B,) of rows (B, D) that have the cells which some panel of the picture needs."""
        present = x[:, list(self.columns)].isfinite()
        return present.any(1) if self.projection is None and self.dims > 2 else present.all(1)

    def of_model(self, model: GaussianMixture) -> GaussianMixture:
        """The mixture in these coordinates. A projection leaves out the background, which is uniform in columns only.

        Under y = A (x − c), N(μ, Σ) becomes N(A (μ − c), A Σ Aᵀ).
        """
        of_columns = marginal(model, self.columns)
        if self.projection is None:
            return of_columns
        lift, weights = self.projection.lift, of_columns.weights
        means = (of_columns.means - self.projection.centre) @ lift.mT
        covariances = lift @ of_columns.covariances @ lift.mT
        return GaussianMixture.from_covariances(weights / weights.sum(), means, covariances)


@torch.no_grad()
def marginal(model: GaussianMixture, columns: Sequence[int], background: bool = True) -> GaussianMixture:
    """The mixture of these columns on the CPU, float64. background: whether to keep one that the mixture has."""
    index = torch.tensor(columns, device=model.weights.device)
    family, p = model.kind.marginal(model.parameters_inner, index)
    box = None if model.box is None else model.box[:, index].cpu()
    if not background:
        p, box = p.beside(None), None
    shift, std = model.shift[index].cpu(), model.std[index].cpu()
    return GaussianMixture.of(p.to("cpu"), family.name, shift=shift, std=std, box=box)


def choose_coordinates(
    model: GaussianMixture, columns: Sequence[str] | None = None, projection: str | None = None
) -> Coordinates:
    """The coordinates of a picture of this mixture.

    columns: names of its columns, in order; None is all or, of more than SHOWN_COLUMNS, those that tell the
    components apart best. projection: "pca" for the first two principal components of the columns, in units of
    their standard deviations under the mixture.

    Raises UsageError for what cannot be drawn, InputError for a column that the model does not have.
    """
    names = model.columns or tuple(f"x{d + 1}" for d in range(model.dims))
    if projection not in (None, "pca"):
        raise UsageError("unknown projection", subject=Option("projection", projection), remedy="choose pca")
    absent = [name for name in columns or () if name not in names]
    if absent:
        raise InputError(f"no column {listing(absent)}: the model has {listing(names)}")
    indices = tuple(range(len(names)) if columns is None else map(names.index, dict.fromkeys(columns)))
    note = ""
    if not indices:
        raise UsageError("no names are given", subject=Option("columns"), remedy="name at least one")
    if projection is not None:
        return _principal(model, indices)
    if columns is None and len(indices) > SHOWN_COLUMNS:
        indices = _telling(model, SHOWN_COLUMNS)
        note = f"{len(indices)} of {len(names)} columns shown, those that tell the components apart best"
    if len(indices) > MOST_COLUMNS:
        fewer, project = Remedy("name fewer by", "columns"), Remedy("project them by", "projection", "pca")
        raise UsageError(f"{len(indices)} columns: a grid has at most {MOST_COLUMNS}", remedy=(fewer, project))
    return Coordinates(indices, tuple(printable(names[d]) for d in indices), note=note)


@torch.no_grad()
def _telling(model: GaussianMixture, count: int) -> tuple[int, ...]:
    """Indices of the columns whose means vary most between components against the variance within, in order."""
    parts = [marginal(model, [d]) for d in range(model.dims)]
    means = torch.cat([part.means for part in parts], 1)  # (K, D)
    weights = parts[0].weights
    within = weights @ torch.cat([part.covariances[:, :, 0] for part in parts], 1)
    middle = weights @ means / weights.sum()
    between = weights @ (means - middle).square()
    order = (between / within).sort(descending=True, stable=True).indices
    return tuple(sorted(order[:count].tolist()))


@torch.no_grad()
def _principal(model: GaussianMixture, columns: tuple[int, ...]) -> Coordinates:
    """The first two principal components of the mixture's correlation matrix of these columns."""
    if len(columns) < 2:
        leave_out = Remedy("leave out", "projection")
        raise UsageError("a projection needs two columns or more", remedy=(Remedy("name more"), leave_out))
    mixture = marginal(model, columns, background=False)
    weights, means = mixture.weights, mixture.means
    centre = weights @ means
    apart = means - centre
    total = torch.einsum("k,kde->de", weights, mixture.covariances) + (weights * apart.mT) @ apart
    std = total.diagonal().sqrt()
    values, vectors = torch.linalg.eigh(total / (std[:, None] * std))
    directions = vectors.flip(1)[:, :2].mT
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()  # an eigenvector has either sign: fixed, for the same picture each time
    shares = (values.flip(0)[:2] / values.sum()).tolist()
    labels = tuple(f"PC{i + 1} ({100 * share:.0f} % of variance)" for i, share in enumerate(shares))
    return Coordinates(columns, labels, Projection(centre, directions / std))
