"""What `gmm fit` says when it is done, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gmmcli.cli.console import Console
from gmmcli.cli.inputs import column_names
from gmmcli.cli.tables import component_table, count, number
from gmmcli.fitting.stopping import LEFT_BEHIND
from gmmcli.names import listing, one_line, printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.data import Selection, SourceBlocks
    from gmmcli.fitting.result import FitResult

SAME_OPTIMUM = 1e-5  # nats per row within which a restart has reached the best one's log-likelihood
SHOWN_COMPONENTS = 8
SHOWN_COLUMNS = 12
COLLINEAR = 1e-9  # an eigenvalue of the correlation matrix below this is a linear relation between columns
TAKES_PART = 0.01  # least coefficient of a column in such a relation, between standardised columns
REMEDY = "lower --components, raise --variance-floor or choose another --family"


def columns_report(console: Console, selection: Selection, weights: str | None) -> None:
    """Which columns are used, which are not and why."""
    console.note(f"columns: {listing(selection.used)}")
    by_reason: dict[str, list[str]] = {}
    for name, reason in selection.left_out.items():
        if name != weights:
            by_reason.setdefault(reason, []).append(name)
    if by_reason:
        parts = (f"{listing(names)} ({one_line(reason)})" for reason, names in by_reason.items())
        console.note(f"left out: {'; '.join(parts)}")
    if weights is not None:
        console.note(f"row weights: {printable(weights)}")


def fit_report(
    console: Console, result: FitResult, label: str, blocks: SourceBlocks, output: str, strict: bool
) -> None:
    """The closing summary, and warnings with their remedies. strict: that it has not converged is said elsewhere."""
    model = result.model
    rows = f"{label}: {blocks.rows_read} rows"
    if blocks.rows_dropped:
        rows += f", {blocks.rows_dropped} left out for missing or infinite cells"
    if result.rows != blocks.rows_read - blocks.rows_dropped:
        why = "of weight 0" if result.survey.cells is None else "without a cell or of weight 0"
        rows += f", {blocks.rows_read - blocks.rows_dropped - result.rows} {why}"
    console.note(rows)
    weighted = result.survey.weight != result.rows
    console.note(
        f"family {model.family}, {count(model.components, 'component')}, {count(model.dims, 'column')}, "
        f"{count(result.rows, 'row')}"
        + (f" of total weight N = {number(result.weight)}, which counts as their number" if weighted else "")
    )
    console.note(
        f"log-likelihood {result.log_likelihood:.4f}, {result.log_likelihood / result.weight:.6f} per row, "
        f"with {count(result.parameter_count, 'parameter')}"
    )
    at = " at the mode of the posterior, not of the likelihood" if result.options.prior else ""
    console.note(f"BIC {result.bic:.4f}, AIC {result.aic:.4f}, ICL {result.icl:.4f}{at}")
    if model.components <= SHOWN_COMPONENTS and model.dims <= SHOWN_COLUMNS:
        console.note(component_table(model, result.weight))
    _restarts_report(console, result)
    passes = count(result.restarts[result.restart].passes, "pass", "passes")
    remaining = f"{result.remaining:.1e} nats per row" if math.isfinite(result.remaining) else "not known"
    console.note(
        f"{'converged' if result.converged else 'stopped'} after {passes}: {result.stop.prose}; "
        f"estimated remaining gain: {remaining}"
    )
    where = "" if result.device == "cpu" else f" on {result.device} in {result.precision}"
    console.note(f"{printable(output)}: written after {result.seconds:.1f} s, {result.passes} passes in all{where}")
    if not result.converged and not strict:
        console.warn(f"not converged: {result.stop.remedy or result.stop.prose}")
    if result.unsound is not None:
        console.warn(f"this fit is not to be trusted: {result.unsound}: {_remedy(result)}")


def _restarts_report(console: Console, result: FitResult) -> None:
    restarts = result.restarts
    failed = [restart for restart in restarts if restart.failure is not None]
    if len(restarts) > 1:
        ended = [r for r in restarts if r.failure is None and r.stop != LEFT_BEHIND.name]
        near = sum(abs(r.log_likelihood - result.log_likelihood) <= SAME_OPTIMUM * result.weight for r in ended)
        unsound = sum(r.unsound is not None for r in ended) if result.unsound is None else 0
        console.note(
            f"restarts: {len(restarts)}, {len(ended)} of them run to the end, {near} to this log-likelihood"
            + (f", {unsound} set aside as unsound" if unsound else "")
        )
    done = "was dropped" if result.options.on_collapse == "drop" else "began again elsewhere"
    for reset in restarts[result.restart].resets:
        console.note(f"after {count(reset.passes, 'pass', 'passes')} {reset.reason}: it {done}")
    if failed:
        console.warn(f"{count(len(failed), 'restart')} failed: {failed[0].failure}")


def _remedy(result: FitResult) -> str:
    """What to do about an unsound fit. It is kept only where all restarts are, so that the data may be at fault."""
    names = collinear_columns(result.survey.covariance, column_names(result.model))
    if not names:
        return REMEDY
    return f"the columns {listing(names)} may be collinear: leave some out with --exclude, or lower --components"


def collinear_columns(
    covariance: Tensor,  # (D, D)
    names: Sequence[str],
) -> list[str]:
    """The columns that take part in a linear relation that holds in all rows, nearly; none where there is none."""
    import torch

    std = covariance.diagonal().sqrt()
    std = torch.where(std > 0, std, torch.ones_like(std))
    values, vectors = torch.linalg.eigh((covariance / (std[:, None] * std)).fill_diagonal_(1))
    related = vectors[:, values < COLLINEAR].abs().amax(1) if bool((values < COLLINEAR).any()) else 0 * std
    return [name for name, share in zip(names, related.tolist(), strict=True) if share > TAKES_PART]
