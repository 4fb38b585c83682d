"""`gmm score`: the log-likelihood of every row, or of all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmmcli.addresses import masked
from gmmcli.cli import console
from gmmcli.cli.completion import column
from gmmcli.cli.console import Console
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import add_columns, as_read, column_names, open_model, open_output, rows_report
from gmmcli.cli.options import (
    DATA,
    OUTPUT,
    REPORT,
    Common,
    Data,
    Memory,
    MissingCells,
    Model,
    Output,
    OutputFormat,
    Prefix,
    Reading,
)
from gmmcli.errors import InputError, UsageError
from gmmcli.names import printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.blocks import Block
    from gmmcli.data import SourceBlocks
    from gmmcli.mixture import GaussianMixture

EXAMPLES = """\
$ gmm score faithful.pt sample_data/faithful.csv -o scored.parquet

$ gmm score penguins.pt sample_data/penguins.csv --missing drop --summary --json

$ gmm score faithful.pt sample_data/faithful.csv --quantile 0.01 -o marked.csv"""


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
    quantile: Annotated[
        float | None,
        typer.Option(
            "--quantile",
            metavar="Q",
            help="Add a column outlier too: 1 for a row whose log-likelihood is below that of this share, between 0 "
            "and 1, of the rows that were fitted, else 0. Default: no such column.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    output: Output = None,
    output_format: OutputFormat = None,
    prefix: Prefix = "",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="COLUMN",
            help="With --summary: column of row weights, not negative. Default: every row weighs 1.",
            autocompletion=column,
            rich_help_panel=DATA,
        ),
    ] = None,
    missing: MissingCells = "error",
    reading: Reading,
    memory: Memory,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the sums of --summary as JSON on standard output.", rich_help_panel=REPORT
        ),
    ] = False,
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
        ("--quantile", quantile is not None, not summary),
    ):
        if given and not applies:
            raise UsageError(f"{name} {'does not apply with' if summary else 'applies only with'} --summary")
    if quantile is not None and not 0 < quantile < 1:
        raise UsageError(f"--quantile {quantile}: must be between 0 and 1")
    options = reading.options()
    sink = open_output(output, output_format, options)
    mixture, metadata = open_model(model)
    source = Source(data or [], options, scratch=memory.scratch())
    if not summary:
        names = ["log_likelihood"]
        below = None if quantile is None else _quantile(model, metadata, quantile)
        if below is not None:
            names.append("outlier")

        def compute(x: Tensor) -> Sequence[Tensor]:
            scores = mixture.log_prob(x, marginal=missing == "em")
            return [scores] if below is None else [scores, (scores < below).long()]

        empty = add_columns(source, mixture, [prefix + name for name in names], compute, sink, missing)
        note = Console(common.quiet)
        if below is not None:
            note.note(f"outliers: rows of a log-likelihood below {below:.6g}")
        rows_report(note, output, sink, empty)
        return
    blocks = source.blocks(source.match(column_names(mixture)), weights, as_read(missing))
    report = _summarise(mixture, blocks)
    if as_json:
        console.write_json({"model": masked(model), "data": source.label, **report})
        return
    console.write(console.Table(["", ""], [(name.replace("_", " "), f"{v:.10g}") for name, v in report.items()]))


def _quantile(path: str, metadata: dict[str, Any], share: float) -> float:
    """The log-likelihood that this share of the rows of the fit lies below."""
    from gmmcli.scores import Scores

    if "scores" not in metadata:
        raise InputError(f"{printable(path)}: it does not say how its rows scored: fit it anew for --quantile")
    try:
        return Scores.from_json(metadata["scores"]).quantile(share)
    except InputError as error:
        raise InputError(f"{printable(path)}: {error}: fit it anew for --quantile") from None


def _summarise(mixture: GaussianMixture, blocks: SourceBlocks) -> dict[str, Any]:
    """The sums over all rows: log-likelihoods in nats, N the total weight."""
    import math

    import torch

    from gmmcli.fitting.workers import default_threads, map_blocks
    from gmmcli.threads import single_intra_op_thread

    def sums(block: Block) -> tuple[int, float, float, float]:
        with torch.inference_mode():  # which is a matter of each thread
            log_prob, entropy = mixture.log_prob_and_entropy(block.x, marginal=True)
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
