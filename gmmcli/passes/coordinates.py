"""The coordinates in which a fit is run: shifted by the data's mean, scaled by what the family is equivariant to.

In them every column has variance 1 (and, where a full covariance is fitted, columns are uncorrelated), so that
neither the sums nor the features lose digits, and a variance floor means the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from gmmcli.errors import InputError
from gmmcli.families.affine import Affine
from gmmcli.families.base import Family
from gmmcli.passes.survey import Survey
from gmmcli.storage.names import listing

RANK_LIMIT = math.sqrt(torch.finfo(torch.float64).eps)  # of a pivot of the correlation matrix


def standardisation(summary: Survey, names: Sequence[str]) -> Affine:
    """z-scores with divisor N. Raises InputError where a column is constant."""
    _refuse_empty(summary, names)
    _refuse_constant(summary, names)
    return Affine(summary.mean, summary.variances.sqrt())


def conditioning(summary: Survey, family: Family, names: Sequence[str]) -> Affine:
    """The map from the coordinates of the fit to those of the data.

    Per column and then by the Cholesky factor of the correlations for full covariances (per column only where
    the factor is rank-deficient, and where cells are missing, which it would smear over columns), per column for
    diagonal ones, by one number for isotropic ones. Raises InputError where a column has no cell or is constant (for
    isotropic families, where all are).
    """
    _refuse_empty(summary, names)
    if family.coordinates == "scalar":
        variance = summary.variances.mean()
        if float(variance) <= 0:
            if family.learned:
                if len(summary.constant) < len(names):
                    raise InputError("the columns vary by less than a number can square: multiply them first")
                raise InputError("all rows are identical: there is no variance to fit")
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
    if summary.cells is not None and bool((summary.cells <= 0).any()):
        empty: list[int] = (summary.cells <= 0).nonzero()[:, 0].tolist()
        listed = ", ".join(names[d] for d in empty)
        raise InputError(f"column {listed} has no values: leave it out with --exclude")


def _refuse_constant(summary: Survey, names: Sequence[str]) -> None:
    constant = summary.constant
    tiny: list[int] = [d for d in (summary.variances <= 0).nonzero()[:, 0].tolist() if d not in constant]
    if tiny:
        raise InputError(
            f"column {listing([names[d] for d in tiny])} varies by less than a number can square: multiply it first"
        )
    if constant:
        listed = listing([names[d] for d in constant])
        raise InputError(
            f"column {listed} is constant, so its variance cannot be fitted: leave it out with --exclude"
        )
