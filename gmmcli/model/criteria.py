"""Criteria by which fits are compared: their names, and the formulas of the information criteria.

L is the likelihood of all rows, N their total weight and df the number of free parameters. Imports no torch.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

CriterionName = Literal["bic", "icl", "aic", "holdout"]


class Criterion(NamedTuple):
    """label: for people; less_is_better: whether the best fit has the least of it."""

    label: str
    less_is_better: bool = True


CRITERIA: dict[str, Criterion] = {  # by CriterionName
    "bic": Criterion("BIC"),
    "icl": Criterion("ICL"),
    "aic": Criterion("AIC"),
    "holdout": Criterion("held-out log-likelihood per row", less_is_better=False),
}


def bic(log_likelihood: float, parameters: int, weight: float) -> float:
    """Bayesian information criterion −2 log L + df log N."""
    return -2 * log_likelihood + parameters * math.log(weight)


def aic(log_likelihood: float, parameters: int) -> float:
    """Akaike information criterion −2 log L + 2 df."""
    return -2 * log_likelihood + 2 * parameters


def icl(log_likelihood: float, parameters: int, weight: float, entropy: float) -> float:
    """Integrated completed likelihood BIC + 2 Σ w entropy(r): a BIC that charges for overlap. entropy: that sum."""
    return bic(log_likelihood, parameters, weight) + 2 * entropy
