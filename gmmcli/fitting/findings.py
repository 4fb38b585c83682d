"""What a user should know before trusting a fit, each in one sentence with its remedy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gmmcli.families.base import Family
from gmmcli.fitting.survey import Survey
from gmmcli.mixture import GaussianMixture
from gmmcli.names import listing

COLLINEAR = 1e-9  # an eigenvalue of the correlation matrix below this is a linear relation between columns
TAKES_PART = 0.01  # least coefficient of a column in such a relation, between standardised columns
REMEDY = "lower --components, raise --variance-floor or choose another --family"


def findings(model: GaussianMixture, survey: Survey, names: Sequence[str], unsound: str | None) -> list[str]:
    """Of the mixture and of the data; that it has not converged is told by the reason for which the fit stopped."""
    told = []
    related = collinear_columns(survey.covariance, names)
    if unsound is not None:
        remedy = (
            f"the columns {listing(related)} may be collinear: leave some out with --exclude, or lower --components"
        )
        told.append(f"this fit is not to be trusted: {unsound}: {remedy if related else REMEDY}")
    elif related:
        told.append(f"the columns {listing(related)} are collinear: leave some out with --exclude")
    constant: list[int] = (survey.maximum <= survey.minimum).nonzero()[:, 0].tolist()
    if constant:
        told.append(f"column {listing([names[d] for d in constant])} is constant: leave it out with --exclude")
    if unsound is None:
        told += _few_rows(model.kind, model, survey.rows)
    return told


def _few_rows(family: Family, model: GaussianMixture, rows: int) -> list[str]:
    """Components with fewer rows than parameters of their own."""
    own = model.dims + (0 if family.shared or not family.learned else family.scale_count(model.dims))
    counts = (model.weights.detach() * rows).tolist()
    few = [(k, count) for k, count in enumerate(counts) if count < own]
    if not few:
        return []
    listed = ", ".join(f"{k} ({count:.3g})" for k, count in few[:5]) + (", …" if len(few) > 5 else "")
    return [
        f"fewer rows than the {own} parameters that a component has of its own: component {listed}: "
        "lower --components, choose a simpler --family, or use --prior"
    ]


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
