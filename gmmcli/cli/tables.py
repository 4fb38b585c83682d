"""A model's parameters as tables: a row for each column of the data, a column for each component."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from gmmcli.cli.console import table
from gmmcli.cli.inputs import column_names
from gmmcli.data.columns import printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.mixture import GaussianMixture


def number(value: float) -> str:
    """Six digits."""
    return f"{value:.6g}"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 row`, `2 rows`."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def component_table(model: GaussianMixture, weight: float | None = None) -> Table:
    """Weights, shares of the rows where their total weight is known, and means."""
    header = ["component", *(str(k) for k in range(model.components))]
    weights = model.weights.tolist()
    rows = [["weight", *(f"{w:.4f}" for w in weights)]]
    if weight is not None:
        rows.append(["rows", *(f"{w * weight:.1f}" for w in weights)])
    rows += [[f"mean {name}", *cells] for name, *cells in _by_column(model, model.means)]
    return table(header, rows)


def deviation_table(model: GaussianMixture) -> Table:
    """Standard deviations, the square roots of the covariances' diagonals."""
    header = ["standard deviation", *(str(k) for k in range(model.components))]
    return table(header, _by_column(model, model.covariances.diagonal(dim1=1, dim2=2).sqrt()))


def correlation_tables(model: GaussianMixture) -> list[Table]:
    """The correlations of each component, or of all where they share one covariance; none where all are 0."""
    names = [printable(name) for name in column_names(model)]
    covariances = model.covariances[:1] if model.kind.shared else model.covariances
    std = covariances.diagonal(dim1=1, dim2=2).sqrt()
    correlations = covariances / (std[:, :, None] * std[:, None, :])
    if not bool(correlations.tril(-1).any()):
        return []
    made = []
    for k, matrix in enumerate(correlations.tolist()):
        who = "all components" if model.kind.shared else f"component {k}"
        rows = [
            [name, *(f"{value:.3f}" for value in matrix[d][:d]), *[""] * (len(names) - 1 - d)]
            for d, name in enumerate(names)
        ]
        made.append(table([f"correlation, {who}", *names[:-1]], rows[1:]))
    return made


def _by_column(model: GaussianMixture, values: Tensor) -> list[list[str]]:
    names = column_names(model)
    return [[printable(name), *map(number, row)] for name, row in zip(names, values.mT.tolist(), strict=True)]
