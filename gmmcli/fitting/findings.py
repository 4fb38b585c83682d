"""What a user should know before trusting a fit, each in one sentence with its remedy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gmmcli.families.base import Family
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.survey import Survey
from gmmcli.storage.names import listing

COLLINEAR = 1e-9  # an eigenvalue of the correlation matrix below this is a linear relation between columns
TAKES_PART = 0.01  # least coefficient of a column in such a relation, between standardised columns
SAME = 1e-4  # standard deviations by which the means of two components that are one may differ


def findings(
    model: GaussianMixture, survey: Survey, names: Sequence[str], unsound: str | None, remedy: str | None
) -> list[str]:
    """Of the mixture and of the data; that it has not converged is told by the reason for which the fit stopped.

    unsound, remedy: why the fit is not to be trusted, and what to do.
    """
    told = []
    related = collinear_columns(survey.covariance, names) if survey.rows > model.dims else []
    if unsound is not None:
        if related:
            remedy = f"the columns {listing(related)} may be collinear: leave some out with --exclude"
        told.append(f"this fit is not to be trusted: {unsound}: {remedy}")
    elif related:
        told.append(f"the columns {listing(related)} are collinear: leave some out with --exclude")
    if survey.constant:
        told.append(f"column {listing([names[d] for d in survey.constant])} is constant: leave it out with --exclude")
    if unsound is None:
        told += _few_rows(model.kind, model, survey.rows)
    return told + _same(model)


@torch.no_grad()
def _same(model: GaussianMixture) -> list[str]:
    """Components that are one and the same."""
    std = model.covariances.diagonal(dim1=1, dim2=2).sqrt()
    for k in range(1, model.components):
        near = ((model.means[:k] - model.means[k]).abs() <= SAME * std[k]).all(1)
        near &= ((std[:k] - std[k]).abs() <= SAME * std[k]).all(1)
        if bool(near.any()):
            return [f"components {int(near.nonzero()[0])} and {k} are the same: lower --components"]
    return []


def _few_rows(family: Family, model: GaussianMixture, rows: int) -> list[str]:
    """Components with no more rows than parameters of their own."""
    one, two = (family.parameter_count(components, model.dims) for components in (1, 2))
    own = two - one - 1  # without the weight
    counts = (model.weights.detach() * rows).tolist()
    few = [(k, count) for k, count in enumerate(counts) if count < own + 0.5]
    if not few:
        return []
    listed = ", ".join(f"{k} ({count:.3g})" for k, count in few[:5]) + (", …" if len(few) > 5 else "")
    return [
        f"no more rows than the {_parameters(own)} that a component has of its own: component {listed}: "
        "lower --components, choose a simpler --family, or use --prior"
    ]


def _parameters(count: int) -> str:
    return "1 parameter" if count == 1 else f"{count} parameters"


def collinear_columns(
    covariance: Tensor,  # (D, D)
    names: Sequence[str],
) -> list[str]:
    """The columns that take part in a linear relation that holds in all rows, nearly; none where there is none."""
    std = covariance.diagonal().sqrt()
    std = torch.where(std > 0, std, torch.ones_like(std))
    values, vectors = torch.linalg.eigh((covariance / (std[:, None] * std)).fill_diagonal_(1))
    related = vectors[:, values < COLLINEAR].abs().amax(1) if bool((values < COLLINEAR).any()) else 0 * std
    return [name for name, share in zip(names, related.tolist(), strict=True) if share > TAKES_PART]
