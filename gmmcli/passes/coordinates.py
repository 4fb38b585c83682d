"""The coordinates of a fit: shifted by the data's mean, and scaled by a map that the family is equivariant to.

In them every column has variance 1, and where a full covariance is fitted the columns are uncorrelated. So neither
sums nor features lose digits, and a variance floor means the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.errors import Remedy, RowsError
from gmmcli.families.base import Family, Parameters
from gmmcli.families.linear import Affine
from gmmcli.passes.survey import Survey, refuse_columns

RANK_LIMIT = math.sqrt(torch.finfo(torch.float64).eps)  # of a pivot of the correlation matrix
LEAVE_OUT = Remedy("leave it out with", "exclude")


@dataclass(frozen=True)
class Coordinates:
    """Coordinates of the pass, x = fit(z), and of the model's parameters, x = model(y)."""

    fit: Affine
    model: Affine
    standardised: bool

    def to_model(self, family: Family, p: Parameters) -> Parameters:
        """Parameters of the fit in the model's coordinates."""
        if self.fit is self.model:
            return p
        outer = family.to_outer(p, self.fit)
        return family.to_inner(outer, self.model) if self.standardised else outer

    def scale_of_variance(self) -> Tensor:
        """Ratio of a variance in the model's coordinates to the same variance in those of the fit."""
        return self.fit.factor.square() if self.fit is not self.model else torch.ones((), dtype=torch.float64)


def fit_coordinates(summary: Survey, family: Family, names: Sequence[str], *, standardize: bool) -> Coordinates:
    """The coordinates of a fit of this family. standardize: whether the model keeps its parameters in z-scores."""
    if not standardize:
        return Coordinates(conditioning(summary, family, names), Affine.identity(len(names)), False)
    z_scores = standardisation(summary, names)
    fit = z_scores if family.coordinates == "scalar" else conditioning(summary, family, names)
    return Coordinates(fit, z_scores, True)


def standardisation(summary: Survey, names: Sequence[str]) -> Affine:
    """Z-scores with divisor N. Raises RowsError where a column is constant."""
    _refuse_empty(summary, names)
    constant = summary.constant
    tiny = [d for d in (summary.variances <= 0).nonzero()[:, 0].tolist() if d not in constant]
    refuse_columns("the values vary by less than a number can square", names, tiny, "multiply them first")
    refuse_columns("all values are equal, so that no variance can be fitted", names, constant, LEAVE_OUT)
    return Affine(summary.mean, summary.variances.sqrt())


def conditioning(summary: Survey, family: Family, names: Sequence[str]) -> Affine:
    """The map from the coordinates of the fit to those of the data.

    Full covariances are scaled per column and then by the Cholesky factor of the correlations; only per column if the
    factor is rank-deficient, or if cells are missing, which it would smear over columns. Diagonal covariances are
    scaled per column, isotropic ones by one number. Raises RowsError where a column has no cell or is constant; for
    isotropic families, where all are.
    """
    _refuse_empty(summary, names)
    if family.coordinates == "scalar":
        variance = summary.variances.mean()
        if float(variance) <= 0:
            if family.learned:
                if len(summary.constant) < len(names):
                    raise RowsError("the columns vary by less than a number can square", remedy="multiply them first")
                raise RowsError("all rows are identical, so that there is no variance to fit")
            variance = torch.ones_like(variance)
        return Affine(summary.mean, variance.sqrt())
    columns = standardisation(summary, names)
    if family.coordinates == "columns" or summary.cells is not None:
        return columns
    correlations = summary.covariance / (columns.factor[:, None] * columns.factor)
    factor, info = torch.linalg.cholesky_ex(correlations)
    if int(info) != 0 or float(factor.diagonal().square().min()) < RANK_LIMIT:
        return columns
    return Affine(summary.mean, columns.factor[:, None] * factor)


def _refuse_empty(summary: Survey, names: Sequence[str]) -> None:
    empty = [] if summary.cells is None else (summary.cells <= 0).nonzero()[:, 0].tolist()
    refuse_columns("no row has a value", names, empty, LEAVE_OUT)
