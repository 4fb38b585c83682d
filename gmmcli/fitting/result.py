"""The result of a fit, and the readings after its last pass that measure what it has found.

- `closing_pass`: log-likelihood and entropy of every restart that ended.
- `ScoreHistogram`: the distribution of log p(x) over the rows.
- `certainty`: certainty of the assignment of rows to components, and the components that overlap.
- `FitResult`: the model, its history, and the criteria by which it is judged. `describe`: its metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import NotConvergedError, Notice, NumericalError, Remedy, Word, alternatives, as_argument
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.engine import Evaluator, Request
from gmmcli.fitting.loop import PassRecord, Reset, Run
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.soundness import Flaw, findings
from gmmcli.fitting.stopping import LEFT_BEHIND, StopReason
from gmmcli.model import criteria
from gmmcli.model.densities import log_sum
from gmmcli.model.mixture import GaussianMixture
from gmmcli.model.prepared_densities import chunk_rows, log_joint_of_rows, log_volumes
from gmmcli.model.scores import ScoreCounter, Scores
from gmmcli.passes.execution import Group
from gmmcli.passes.layout import LateBlock, PreparedBlock
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import Collected, Task, read
from gmmcli.passes.sums import SufficientStatistics
from gmmcli.passes.survey import Survey

SURE = 0.9  # least probability of a sure assignment
ROWS = 1 << 17  # size of the sample for the certainty
OVERLAP = 0.05  # least share of a component's rows that is reported
PAIRS = 20  # most pairs of components that are reported


def closing_pass(
    runs: Sequence[Run], objective: Objective, evaluate: Evaluator
) -> Task[dict[int, SufficientStatistics]]:
    """Statistics, with entropy, of the mixture of each restart that ended, by restart.

    Restarts that were left behind are not evaluated. Raises NumericalError if no restart is left.
    """
    alive = [run for run in runs if run.failure is None and run.stop != LEFT_BEHIND]
    final: dict[int, SufficientStatistics] = {}
    answers = (yield from evaluate([Request(run.state.parameters) for run in alive], entropy=True)) if alive else []
    for run, answer in zip(alive, answers, strict=True):
        if isinstance(answer, NumericalError):
            run.failure = answer
        else:
            final[run.restart] = answer
            level = objective.value(answer, run.state.parameters)
            run.state = replace(run.state, log_likelihood=level)
    if not final:
        first = runs[0].failure
        assert first is not None
        raise NumericalError(
            f"every restart failed, the first with: {Notice(first.notice.problem, first.notice.subject)}",
            kind="every restart failed",
            remedy=first.notice.remedies or (Remedy("raise", "variance_floor"), Remedy("lower", "components")),
        )
    return final


class ScoreHistogram:
    """Fold: the distribution of log p(x) over the rows, in data units.

    p: in the coordinates of the fit. centre: the mean of log p(x), in data units.
    """

    def __init__(self, data: PreparedData, family: Family, p: Parameters, centre: float) -> None:
        self._log_joint, self._volumes = log_joint_of_rows(data, family, p), log_volumes(data)
        self._chunk_rows, self._unit = chunk_rows(data, p), data.summary.weight_unit
        self._centre, self._weight = centre, data.summary.weight
        self._counter = ScoreCounter(centre, self._weight)

    def add(self, block: LateBlock | PreparedBlock) -> None:
        """Takes in a block."""
        rows = block.laid_out()
        if not len(rows):
            return
        chunks = (chunk.z for chunk in rows.split(self._chunk_rows))
        scores = torch.cat([log_sum(self._log_joint(z))[0] - self._volumes(z) for z in chunks]).cpu()
        weights = None if rows.weights is None else rows.weights.double().cpu() * self._unit
        self._counter.add(*self._counter.count(scores, weights))

    def merge(self, other: ScoreHistogram) -> None:
        """Takes in the counts of another fold."""
        self._counter.add(*other._counter.counted().mT)

    def result(self, group: Group) -> Scores:
        """The histogram over all processes."""
        total = ScoreCounter(self._centre, self._weight)
        total.add(*group.joined(self._counter.counted()).mT)
        return total.scores()


@dataclass(frozen=True)
class Certainty:
    """Shares of the rows by weight. Components are as in the model; a background comes after the last.

    rows: number of rows in the sample. sure: share of sure assignments. assigned: (K,) share of the rows that are
    assigned to each component. sure_of: (K,) share of sure assignments among them; 0 if there are none. overlaps: (i,
    j, share) with share = Σ_n r_ni r_nj / Σ_n r_ni, the part of i's rows that j claims, largest first.
    """

    rows: int
    sure: float
    assigned: Sequence[float]
    sure_of: Sequence[float]
    overlaps: Sequence[tuple[int, int, float]]


def certainty(data: PreparedData, family: Family, p: Parameters, seed: int) -> Task[Certainty]:
    """Certainty of the rows, or of a sample of about ROWS if they are more. p: in the coordinates of the fit."""
    data = yield from data.sample(seed, min(1.0, min(ROWS, data.largest_sample) / data.summary.rows))
    log_joint, rows = log_joint_of_rows(data, family, p), chunk_rows(data, p)
    many = p.components + (p.background is not None)

    def counted(block: PreparedBlock) -> Tensor:
        """Σ w r rᵀ, the weight of the rows assigned, and of the sure ones, (K, K + 2)."""
        total = torch.zeros(many, many + 2, dtype=torch.float64)
        for part in block.split(rows):
            r = log_joint(part.z).softmax(0).cpu()
            w = r.new_ones(r.shape[1]) if part.weights is None else part.weights.double().cpu()
            highest, component = r.max(0)
            total[:, :many] += (r * w) @ r.mT
            total[:, many] += w.new_zeros(many).index_add_(0, component, w)
            total[:, many + 1] += w.new_zeros(many).index_add_(0, component, w * (highest >= SURE))
        return total

    counts = yield from read(data.reading(lambda: Collected(counted)))
    total = torch.stack(counts).sum(0)
    shared, assigned, sure = total[:, :many], total[:, many], total[:, many + 1]
    weight = assigned.sum()
    claimed = shared / shared.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    pairs = (claimed.fill_diagonal_(0) >= OVERLAP).nonzero().tolist()
    overlaps = sorted(((i, j, float(claimed[i, j])) for i, j in pairs), key=lambda pair: (-pair[2], pair))
    return Certainty(
        data.summary.rows,
        float(sure.sum() / weight),
        (assigned / weight).tolist(),
        torch.where(assigned > 0, sure / assigned, 0).tolist(),
        overlaps[:PAIRS],
    )


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
    of log p(x) over the rows. certainty: of the assignment of rows to components. order: index at the start of each
    of the model's components. word: the function from an option to its words.
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
        "options": asdict(result.options),
        "data": {
            "fingerprint": summary.fingerprint,
            "minimum": summary.minimum.tolist(),
            "maximum": summary.maximum.tolist(),
            "mean": summary.mean.tolist(),
            "std": summary.variances.sqrt().tolist(),
        },
        "scores": result.scores.to_json(),
        "entropy": result.entropy / result.weight,
        "certainty": asdict(result.certainty),
        "findings": result.findings,
        "restart": result.restart,
        "restarts": [asdict(restart) for restart in result.restarts],
        "history": [asdict(record) for record in result.history],
    } | dict[str, Any](more)
