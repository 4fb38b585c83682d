"""Result of a fit: the model, its history, and the criteria by which it is judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gmmcli.errors import NotConvergedError, Word, alternatives, as_argument
from gmmcli.fitting.assessment import Certainty
from gmmcli.fitting.loop import PassRecord, Reset
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.soundness import Flaw, findings
from gmmcli.fitting.stopping import StopReason
from gmmcli.model import criteria
from gmmcli.model.mixture import GaussianMixture
from gmmcli.model.scores import Scores
from gmmcli.passes.survey import Survey


@dataclass(frozen=True)
class RestartResult:
    """End of one restart.

    log_likelihood: nats in total, in data units; NaN if it failed or was left behind on a sample. passes: over all
    rows; passes over samples count by their share. resets: of collapsed components.
    """

    restart: int
    log_likelihood: float
    passes: int
    stop: str
    unsound: str | None = None
    failure: str | None = None
    resets: Sequence[Reset] = ()


@dataclass(frozen=True)
class FitResult:
    """A fitted model and its history.

    model: in data units, heaviest component first. history: of the kept restart, one record a step. log_likelihood:
    nats in total, Σ w log p(x). entropy: Σ w entropy of the responsibilities, nats. rows: number of usable rows.
    weight: N, their total weight, which BIC and ICL use. remaining: estimated remaining gain, nats per row. flaw: the
    reason not to trust the fit, or None. passes: over all rows, by all restarts and the survey. scores: distribution
    of log p(x) over the rows. certainty: of the assignment of rows to components. order: number in the start of each
    of the model's components. word: words an option in texts.
    """

    model: GaussianMixture
    options: FitOptions
    history: list[PassRecord]
    stop: StopReason
    restart: int
    restarts: list[RestartResult]
    rows: int
    weight: float
    log_likelihood: float
    entropy: float
    remaining: float
    flaw: Flaw | None
    passes: int
    seconds: float
    device: str
    precision: str
    survey: Survey
    scores: Scores
    certainty: Certainty
    order: Sequence[int]
    word: Word = as_argument

    @property
    def unsound(self) -> str | None:
        """The reason not to trust the kept fit, or None."""
        return None if self.flaw is None else self.flaw.reason

    @property
    def findings(self) -> list[str]:
        """Facts that a user should know before trusting the fit, one sentence each with its remedies."""
        names = self.model.columns or [f"x{d + 1}" for d in range(self.model.dims)]
        return [finding.worded(self.word) for finding in findings(self.model, self.survey, names, self.flaw)]

    @property
    def converged(self) -> bool:
        """Whether the kept restart reached the tolerance."""
        return self.stop.converged

    @property
    def parameter_count(self) -> int:
        """Free parameters."""
        return self.model.parameter_count

    @property
    def bic(self) -> float:
        """−2 log L + df log N."""
        return criteria.bic(self.log_likelihood, self.parameter_count, self.weight)

    @property
    def aic(self) -> float:
        """−2 log L + 2 df."""
        return criteria.aic(self.log_likelihood, self.parameter_count)

    @property
    def icl(self) -> float:
        """BIC + 2 Σ entropy of the responsibilities."""
        return criteria.icl(self.log_likelihood, self.parameter_count, self.weight, self.entropy)

    def require_converged(self) -> None:
        """Raises NotConvergedError if the fit stopped early."""
        if not self.converged:
            raise NotConvergedError(self.stop.prose, subject="not converged", remedy=self.stop.remedies)


def describe(result: FitResult, **more: Any) -> dict[str, Any]:
    """The metadata of a fitted model, as JSON values. `more` adds members that only the caller knows.

    Log-likelihoods, bic, aic and icl are totals in nats. Entropy is per row. The history is of the kept restart, in
    nats per row. Components count from 0, heaviest first.
    """
    summary = result.survey
    return {
        "family": result.model.family,
        "components": result.model.components,
        "dims": result.model.dims,
        "columns": None if result.model.columns is None else list(result.model.columns),
        "parameters": result.parameter_count,
        "rows": result.rows,
        "weight": result.weight,
        "log_likelihood": result.log_likelihood,
        "mean_log_likelihood": result.log_likelihood / result.weight,
        "bic": result.bic,
        "aic": result.aic,
        "icl": result.icl,
        "method": result.options.method,
        "acceleration": result.options.accelerated_by,
        "seed": result.options.seed,
        "stop": {
            "name": result.stop.name,
            "prose": result.stop.prose,
            "remedy": alternatives(result.stop.remedies, result.word),
            "converged": result.stop.converged,
        },
        "converged": result.converged,
        "remaining_gain": result.remaining,
        "unsound": result.unsound,
        "passes": result.passes,
        "seconds": result.seconds,
        "device": result.device,
        "precision": result.precision,
        "options": dataclasses.asdict(result.options),
        "data": {
            "fingerprint": summary.fingerprint,
            "minimum": summary.minimum.tolist(),
            "maximum": summary.maximum.tolist(),
            "mean": summary.mean.tolist(),
            "std": summary.variances.sqrt().tolist(),
        },
        "scores": result.scores.to_json(),
        "entropy": result.entropy / result.weight,
        "certainty": dataclasses.asdict(result.certainty),
        "findings": result.findings,
        "restart": result.restart,
        "restarts": [dataclasses.asdict(restart) for restart in result.restarts],
        "history": [dataclasses.asdict(record) for record in result.history],
    } | dict[str, Any](more)
