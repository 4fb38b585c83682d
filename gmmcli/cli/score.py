"""`gmm score`: the log-likelihood of every row, or of all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmmcli.cli import console
from gmmcli.cli.console import Console
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import add_columns, column_names, open_model, open_output, rows_report
from gmmcli.cli.options import (
    OUTPUT,
    Common,
    Data,
    Json,
    MissingCells,
    Model,
    Output,
    OutputFormat,
    Prefix,
    Reading,
    Weights,
)
from gmmcli.errors import UsageError

if TYPE_CHECKING:
    from gmmcli.blocks import Block
    from gmmcli.data import SourceBlocks
    from gmmcli.mixture import GaussianMixture

EXAMPLES = """\
$ gmm score faithful.pt sample_data/faithful.csv -o scored.parquet

$ gmm score faithful.pt sample_data/faithful.csv --summary

$ gmm score penguins.pt sample_data/penguins.csv --missing drop --summary --json"""


def score(
    *,
    model: Model,
    data: Data = None,
    summary: Annotated[
        bool,
        typer.Option(
            "--summary",
            help="Instead of the rows: their number, total and mean log-likelihood, AIC, BIC and ICL.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    output: Output = None,
    output_format: OutputFormat = None,
    prefix: Prefix = "",
    weights: Weights = None,
    missing: MissingCells = "error",
    reading: Reading,
    as_json: Json = False,
    common: Common,
) -> None:
    """Adds to each row its log-likelihood under the model, in nats, or sums it up.

    Columns are matched to the model by name. Rows, their order and all other
    columns stay as they are.
    """
    with library_imports():
        from gmmcli.data import Source

    for name, given, applies in (
        ("--json", as_json, summary),
        ("--weights", weights is not None, summary),
        ("--output", output is not None, not summary),
        ("--output-format", output_format is not None, not summary),
        ("--prefix", prefix != "", not summary),
    ):
        if given and not applies:
            raise UsageError(f"{name} {'does not apply with' if summary else 'applies only with'} --summary")
    options = reading.options()
    sink = open_output(output, output_format, options)
    mixture, _ = open_model(model)
    source = Source(data or [], options)
    if not summary:
        names = [prefix + "log_likelihood"]
        empty = add_columns(source, mixture, names, lambda x: [mixture.log_prob(x)], sink, missing)
        rows_report(Console(common.quiet), output, sink, empty)
        return
    report = _summarise(mixture, source.blocks(source.match(column_names(mixture)), weights, missing))
    if as_json:
        console.write_json({"model": model, "data": source.label, **report})
        return
    console.write(console.Table(["", ""], [(name.replace("_", " "), f"{v:.10g}") for name, v in report.items()]))


def _summarise(mixture: GaussianMixture, blocks: SourceBlocks) -> dict[str, Any]:
    """The sums over all rows: log-likelihoods in nats, N the total weight."""
    import math

    import torch

    from gmmcli.fitting.workers import default_threads, map_blocks
    from gmmcli.threads import single_intra_op_thread

    def sums(block: Block) -> tuple[int, float, float, float]:
        with torch.inference_mode():  # which is a matter of each thread
            log_prob, entropy = mixture.log_prob_and_entropy(block.x)
            w = torch.ones_like(log_prob) if block.weights is None else block.weights
            return len(w), float(w.sum()), float(w @ log_prob), float(w @ entropy)

    rows, weight, total, entropy = 0, 0.0, 0.0, 0.0
    with single_intra_op_thread():
        for part in map_blocks(sums, blocks, default_threads()):  # in order, so that the sums' bits are the same
            rows, weight, total, entropy = rows + part[0], weight + part[1], total + part[2], entropy + part[3]
    count = mixture.parameter_count
    bic = -2 * total + count * math.log(weight)
    return {
        "rows": rows,
        "rows_left_out": blocks.rows_dropped,
        "total_weight": weight,
        "parameters": count,
        "log_likelihood": total,
        "mean_log_likelihood": total / weight,
        "aic": -2 * total + 2 * count,
        "bic": bic,
        "icl": bic + 2 * entropy,
    }
