"""Findings: facts that a user should know before trusting a fit, each with its remedies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gmmcli.errors import Notice, Remedy
from gmmcli.families.base import Family
from gmmcli.fitting.soundness import Flaw
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.coordinates import LEAVE_OUT
from gmmcli.passes.survey import Survey
from gmmcli.storage.names import listing

COLLINEAR = 1e-9  # an eigenvalue of the correlation matrix below this is a linear relation between columns
TAKES_PART = 0.01  # least coefficient of a column in such a relation, between standardised columns
SAME = 1e-4  # standard deviations: components whose means and widths differ by less are the same
UNSOUND = "this fit is not to be trusted"
LEAVE_SOME_OUT = Remedy("leave some out with", "exclude")


def findings(model: GaussianMixture, survey: Survey, names: Sequence[str], flaw: Flaw | None) -> list[Notice]:
    """Findings about the mixture and the data. Convergence is not among them: the stop reason tells it.

    flaw: the reason not to trust the fit, or None.
    """
    found = []
    related = collinear_columns(survey.covariance, names) if survey.rows > model.dims else []
    if flaw is not None and related:
        reason = f"{flaw.reason}: the columns {listing(related)} may be collinear"
        found.append(Notice(reason, UNSOUND, (LEAVE_SOME_OUT,)))
    elif flaw is not None:
        found.append(Notice(flaw.reason, UNSOUND, flaw.remedies))
    elif related:
        found.append(Notice(f"the columns {listing(related)} are collinear", remedies=(LEAVE_SOME_OUT,)))
    if survey.constant:
        column = listing([names[d] for d in survey.constant])
        found.append(Notice(f"column {column} is constant", remedies=(LEAVE_OUT,)))
    if flaw is None:
        found += _few_rows(model.kind, model, survey.rows)
    return found + _same(model)


@torch.no_grad()
def _same(model: GaussianMixture) -> list[Notice]:
    """Components with the same means and widths."""
    std = model.covariances.diagonal(dim1=1, dim2=2).sqrt()
    for k in range(1, model.components):
        near = ((model.means[:k] - model.means[k]).abs() <= SAME * std[k]).all(1)
        near &= ((std[:k] - std[k]).abs() <= SAME * std[k]).all(1)
        if bool(near.any()):
            same = f"components {int(near.nonzero()[0])} and {k} are the same"
            return [Notice(same, remedies=(Remedy("lower", "components"),))]
    return []


def _few_rows(family: Family, model: GaussianMixture, rows: int) -> list[Notice]:
    """Components with no more rows than parameters of their own."""
    one, two = (family.parameter_count(components, model.dims) for components in (1, 2))
    own = two - one - 1  # without the weight
    counts = (model.weights.detach() * rows).tolist()
    few = [(k, count) for k, count in enumerate(counts) if count < own + 0.5]
    if not few:
        return []
    listed = ", ".join(f"{k} ({count:.3g})" for k, count in few[:5]) + (", …" if len(few) > 5 else "")
    problem = f"no more rows than the {_parameters(own)} that a component has of its own: component {listed}"
    return [Notice(problem, remedies=Flaw.remedies)]


def _parameters(count: int) -> str:
    return "1 parameter" if count == 1 else f"{count} parameters"


def collinear_columns(
    covariance: Tensor,  # (D, D)
    names: Sequence[str],
) -> list[str]:
    """The columns that take part in a linear relation which holds, nearly, in all rows."""
    std = covariance.diagonal().sqrt()
    std = torch.where(std > 0, std, torch.ones_like(std))
    values, vectors = torch.linalg.eigh((covariance / (std[:, None] * std)).fill_diagonal_(1))
    related = vectors[:, values < COLLINEAR].abs().amax(1) if bool((values < COLLINEAR).any()) else 0 * std
    return [name for name, share in zip(names, related.tolist(), strict=True) if share > TAKES_PART]
