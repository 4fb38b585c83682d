"""Stop reasons as data, and estimates of the gain that remains when a fit stops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gmmcli.errors import Remedy

EM_RATE = 0.99  # assumed rate of EM near an optimum, if no better estimate is known
STALLED = 20  # a fit ends after so many steps in a row that gain no more than rounding
NOISE = 8  # a step that is shorter than NOISE times the log-likelihood's noise is rounding


@dataclass(frozen=True)
class StopReason:
    """A reason why a fit ended. name: for machines. prose, remedies: for people. converged: whether it is reached."""

    name: str
    prose: str
    remedies: tuple[Remedy, ...] = ()
    converged: bool = False


GO_ON = Remedy("go on from this model with", "init", "MODEL.pt")
CONVERGED = StopReason("converged", "the estimated remaining gain fell below the tolerance", converged=True)
ITERATION_LIMIT = StopReason(
    "iteration limit",
    "all allowed passes were used before the gain fell below the tolerance",
    (Remedy("raise", "iterations"), Remedy("raise", "tolerance"), GO_ON),
)
TIME_LIMIT = StopReason(
    "time limit",
    "the allowed time was up before the gain fell below the tolerance",
    (Remedy("raise", "time_limit"), GO_ON),
)
SCHEDULE_END = StopReason(
    "schedule ended",
    "the learning rates were annealed to zero before the gain fell below the tolerance",
    (Remedy("raise", "iterations"), Remedy("raise the learning rates"), GO_ON),
)
NO_PROGRESS = StopReason(
    "no progress",
    "the line search found no better point, although the gradient is not yet small",
    (Remedy("go on by", "method", "em", "from this model"),),
)
PRECISION_LIMIT = StopReason(
    "precision limit",
    "further gains were lost in the rounding of the pass before the remaining gain fell below the tolerance",
    (Remedy("raise", "tolerance"), Remedy("go on from this model in", "precision", "float64", "if it was float32")),
)
LEFT_BEHIND = StopReason("left behind", "other restarts were ahead of it")


def remaining_gain(log_likelihoods: Sequence[float]) -> float:
    """Estimated gain beyond the last of EM's log-likelihoods, in their unit, by Aitken's extrapolation.

    With increments d, d′ and rate ρ = d′/d the terms to come add d′ ρ/(1 − ρ). EM's rate rises as the faster parts of
    its error die out. If four terms are known, the rate is extrapolated as well: with δ its last change, it ends at
    ρ + δ ρ/(1 − ρ). The estimate is infinite if the increments grow or are about to, or if fewer than three terms are
    known.

    Source: Böhning et al., "The distribution of the likelihood ratio for mixtures of densities from the
    one-parameter exponential family", Ann. Inst. Statist. Math. 46 (1994).
    """
    if len(log_likelihoods) < 3:
        return float("inf")
    a, b, c = log_likelihoods[-3:]
    before, last = b - a, c - b
    if last < 0 or before <= last:
        return float("inf")
    rate = last / before
    if len(log_likelihoods) > 3 and (earlier := a - log_likelihoods[-4]) > 0:
        rate += max(0.0, rate - before / earlier) * rate / (1 - rate)
    return last * rate / (1 - rate) if rate < 1 else float("inf")


def hidden_gain(noise: float) -> float:
    """Largest gain of an EM step, nats per row, that rounding can hide or fake: ½ (NOISE · noise)².

    noise: rounding error of the log-likelihood. The length of a step has about the same error.
    """
    return (NOISE * noise) ** 2 / 2


def promised_remaining(promised: float, slowness: Sequence[float]) -> float:
    """Estimated remaining gain, nats per row, from the gain that an EM step promises.

    promised: to second order, ½ zᵀ g for the EM step z and the gradient g. slowness: 1/(1 − ρ) at the last
    points, with the present one; ρ is the slowest known rate of EM. It is infinite where the log-likelihood curves
    upwards.

    Near an optimum ½ gᵀ H⁻¹ g remains, with H the information of the data. M z = g, with M the information of the
    complete data, and M⁻¹ H has no eigenvalue below 1 − ρ.
    """
    if math.isinf(slowness[-1]):
        return float("inf")
    return promised * max(s for s in slowness if math.isfinite(s))
