"""A model's parameters as tables: a row for each component, a column for each column of the data."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from gmmcli.cli.console import Table
from gmmcli.cli.inputs import column_names
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.model.mixture import GaussianMixture


def number(value: float) -> str:
    """Six digits."""
    return f"{value:.6g}"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 row`, `2 rows`."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def component_table(model: GaussianMixture, weight: float | None = None) -> Table:
    """Weights, shares of the rows where their total weight is known, and means; a background has no mean."""
    weights, means = model.weights.tolist(), _cells(model.means)
    if model.background is not None:
        weights, means = [*weights, float(model.background)], [*means, [""] * model.dims]
    header = ["component", "weight", *_names(model)]
    rows = [[name, f"{w:.4f}", *cells] for name, w, cells in zip(model.component_names, weights, means, strict=True)]
    if weight is not None:
        header.insert(2, "rows")
        for row, w in zip(rows, weights, strict=True):
            row.insert(2, f"{w * weight:.1f}")
    return Table(header, rows, title="weights and means")


def deviation_table(model: GaussianMixture) -> Table:
    """Standard deviations, the square roots of the covariances' diagonals."""
    std = _covariances(model).diagonal(dim1=1, dim2=2).sqrt()
    return Table(["component", *_names(model)], _by_component(model, _cells(std)), title="standard deviations")


def correlation_table(model: GaussianMixture) -> Table | None:
    """The correlation of every two columns; None where all are 0."""
    covariances = _covariances(model)
    std = covariances.diagonal(dim1=1, dim2=2).sqrt()
    correlations = covariances / (std[:, :, None] * std[:, None, :])
    if not bool(correlations.tril(-1).any()):
        return None
    pairs = list(combinations(range(model.dims), 2))
    names = _names(model)
    cells = [[f"{matrix[d][e]:.3f}" for d, e in pairs] for matrix in correlations.tolist()]
    header = ["component", *(f"{names[d]}\n{names[e]}" for d, e in pairs)]
    return Table(header, _by_component(model, cells), title="correlations")


def covariance_count(model: GaussianMixture) -> int:
    """How many covariances the model has: 1 where the components share it."""
    return 1 if model.kind.shared else model.components


def _covariances(model: GaussianMixture) -> Tensor:
    return model.covariances[: covariance_count(model)]


def _by_component(model: GaussianMixture, cells: list[list[str]]) -> list[list[str]]:
    return [["all" if model.kind.shared else str(k), *row] for k, row in enumerate(cells)]


def _cells(values: Tensor) -> list[list[str]]:
    return [[number(value) for value in row] for row in values.tolist()]


def _names(model: GaussianMixture) -> list[str]:
    return [printable(name) for name in column_names(model)]
