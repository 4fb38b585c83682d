"""`gmm show`: a model and how it came to be, for a person or a program to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmmcli.cli import console, options, report
from gmmcli.cli.console import Table, count, number
from gmmcli.cli.files import brief, check_kinds, column_names, damage_named, open_model
from gmmcli.cli.processes import library_imports

if TYPE_CHECKING:
    from gmmcli.model.mixture import GaussianMixture

EXAMPLES = """\
$ gmm show faithful.pt

$ gmm show faithful.pt --json"""


def show(*, model: options.Model, json: options.Json = False, common: options.Common) -> None:
    """Prints a model: weights, means, standard deviations and correlations, and how it was fitted.

    With --json all parameters in the units of the data, and everything known of the fit.
    """
    with library_imports():
        import torch

    mixture, metadata = open_model(model)
    with torch.no_grad():
        if json:
            console.write_json({**_parameters(mixture), "metadata": metadata})
            return
        with damage_named(model, "use --json, or fit anew"):
            tables = [report.component_table(mixture, metadata.get("weight")), report.deviation_table(mixture)]
            tables += report.correlation_tables(mixture)
            parts = [part for table in tables for part in ("", table)]
            parts += ["", *_history(mixture, brief(metadata))]
    console.write(
        f"{model}: family {mixture.family}, {count(mixture.components, 'component')}, "
        f"{count(mixture.dims, 'column')}, {count(mixture.parameter_count, 'parameter')}"
    )
    for part in parts:
        console.write(part)


def _parameters(mixture: GaussianMixture) -> dict[str, Any]:
    background = None
    if mixture.background is not None and mixture.box is not None:
        low, high = mixture.box.tolist()
        background = {"weight": float(mixture.background), "minimum": low, "maximum": high}
    return {
        "family": mixture.family,
        "components": mixture.components,
        "dims": mixture.dims,
        "columns": list(column_names(mixture)),
        "parameters": mixture.parameter_count,
        "weights": mixture.weights.tolist(),
        "means": mixture.means.tolist(),
        "covariances": mixture.covariances.tolist(),
        "background": background,
    }


def _history(mixture: GaussianMixture, metadata: dict[str, Any]) -> list[str | Table]:
    """The metadata of the fit in lines; one line for a model that was not fitted."""
    if metadata.get("kind") == "truth":
        return ["a known mixture, as gmm generate draws it"]
    if "stop" not in metadata:
        return ["nothing is known of how this model was made"]
    check_kinds(metadata)
    chosen, restarts = metadata["options"], metadata["restarts"]
    rows = f"data: {metadata['source']}, " if "source" in metadata else "data: "
    rows += count(metadata["rows"], "row")
    if metadata["weight"] != metadata["rows"]:
        rows += f" of total weight {number(metadata['weight'])}"
        rows += f" (column {metadata['weights_column']})" if metadata.get("weights_column") else ""
    if metadata.get("rows_left_out"):
        rows += f"; {metadata['rows_left_out']} left out for missing or infinite cells"
    method = f"method: {metadata['method']}"
    method += f" with {chosen['optimizer']}" if chosen.get("optimizer") else ""
    method += f" with {metadata['acceleration']} acceleration" if metadata.get("acceleration") else ""
    method += ", conjugate prior" if chosen.get("prior") else ""
    method += ", standardized" if chosen.get("standardize") else ""
    lines: list[str | Table] = [
        *report.component_lines(mixture, metadata),
        rows,
        f"{method}; init {metadata.get('init', chosen['init'])}, seed {metadata['seed']}, "
        + (f"best of {len(restarts)} restarts" if len(restarts) > 1 else "one start"),
        *report.model_lines(metadata)[1:],
        report.stop_line(metadata),
    ]
    if len(metadata.get("selection", {}).get("cells", [])) > 1:
        cells, criterion = metadata["selection"]["cells"], metadata["selection"]["criterion"]
        lines.append(f"chosen among {count(len(cells), 'fit')} by {criterion}")
    if not metadata["converged"]:
        lines.append(f"not converged: {metadata['stop']['remedy'] or metadata['stop']['prose']}")
    return [*lines, *metadata.get("findings", [])]
