"""What `gmm fit` says: the columns before it begins, and the closing summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmmcli.cli.console import Console
from gmmcli.cli.summary import (
    Metadata,
    bootstrap_lines,
    certainty_lines,
    component_summary,
    model_lines,
    restart_lines,
    rows_line,
    stop_line,
    telling_lines,
)
from gmmcli.cli.tables import count
from gmmcli.storage.names import listing, one_line, printable

if TYPE_CHECKING:
    from gmmcli.data import Selection
    from gmmcli.model.mixture import GaussianMixture

SHOWN_COMPONENTS = 12
SHOWN_COLUMNS = 12


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
    console: Console, model: GaussianMixture, metadata: Metadata, output: str, seconds: float, strict: bool
) -> None:
    """The closing summary, and warnings with their remedies. strict: that it has not converged is said elsewhere."""
    for line in [rows_line(metadata), *model_lines(metadata)]:
        console.note(line)
    if model.components <= SHOWN_COMPONENTS and model.dims <= SHOWN_COLUMNS:
        console.note(component_summary(model, metadata))
    for line in [*telling_lines(model), *certainty_lines(model, metadata), *bootstrap_lines(model, metadata)]:
        console.note(line)
    for line in [*restart_lines(metadata), stop_line(metadata)]:
        console.note(line)
    failed = [restart for restart in metadata["restarts"] if restart["failure"] is not None]
    if failed:
        console.warn(f"{count(len(failed), 'restart')} failed: {failed[0]['failure']}")
    where = "" if metadata["device"] == "cpu" else f" on {metadata['device']} in {metadata['precision']}"
    passes = metadata.get("selection", {}).get("passes", metadata["passes"])
    console.note(f"{printable(output)}: written after {seconds:.1f} s, {passes} passes in all{where}")
    if not metadata["converged"] and not strict:
        stop = metadata["stop"]
        console.warn(f"not converged: {stop['remedy'] or stop['prose']}")
    for finding in metadata["findings"]:
        console.warn(finding)
