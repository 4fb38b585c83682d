"""`gmm score`: the log-likelihood of every row, or of all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmmcli.cli import console
from gmmcli.cli.added_columns import RowOutput, add_columns, open_output
from gmmcli.cli.completion import column
from gmmcli.cli.console import Console
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import as_read, column_names, open_model
from gmmcli.cli.options import (
    DATA,
    OUTPUT,
    REPORT,
    Common,
    Data,
    Memory,
    MissingCells,
    Model,
    OutputFormat,
    Prefix,
    Reading,
    RowsOutput,
)
from gmmcli.cli.processes import group_of, refuse_stdin, sums_over, threads_here
from gmmcli.cli.targets import rows_not_over
from gmmcli.errors import InputError, UsageError
from gmmcli.model import criteria
from gmmcli.passes.distributed import place
from gmmcli.passes.group import Group
from gmmcli.storage.addresses import masked
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.data import Source, SourceBlocks
    from gmmcli.model.mixture import GaussianMixture
    from gmmcli.passes.block import Block

EXAMPLES = """\
$ gmm score faithful.pt sample_data/faithful.csv -o scored.parquet

$ gmm score penguins.pt sample_data/penguins.csv --missing drop --summary --json

$ gmm score faithful.pt sample_data/faithful.csv --quantile 0.01 -o marked.csv"""


def score(
    context: typer.Context,
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
    output: RowsOutput = None,
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
        from gmmcli.passes.block import Share

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
    group = group_of(context)
    refuse_stdin(data, group)
    options = reading.options()
    rows = None if summary else open_output(output, output_format, options, group)
    mixture, metadata = open_model(model)
    source = Source(data or [], options, scratch=memory.scratch(place().local_size))
    rows_not_over(output, model, source.paths)
    note = Console(common.quiet or group.rank > 0)
    if rows is not None:
        below = None if quantile is None else _quantile(model, metadata, quantile)
        _add_scores(source, mixture, rows, prefix, below, missing, note)
        return
    blocks = source.blocks(
        source.match(column_names(mixture)), weights, as_read(missing), Share(group.rank, group.size)
    )
    report = _summarise(mixture, blocks, group)
    if group.rank > 0:
        return
    if as_json:
        console.write_json({"model": masked(model), "data": source.label, **report})
        return
    console.write(console.Table(["", ""], [(name.replace("_", " "), f"{v:.10g}") for name, v in report.items()]))


def _add_scores(
    source: Source,
    mixture: GaussianMixture,
    output: RowOutput,
    prefix: str,
    below: float | None,
    missing: MissingCells,
    console: Console,
) -> None:
    """Writes the rows with their log-likelihood. below: that of an outlier, None for no such column."""
    names = ["log_likelihood"] if below is None else ["log_likelihood", "outlier"]

    def compute(x: Tensor) -> Sequence[Tensor]:
        scores = mixture.log_prob(x, marginal=missing == "em")
        return [scores] if below is None else [scores, (scores < below).long()]

    empty = add_columns(source, mixture, [prefix + name for name in names], compute, output, missing, console)
    if below is not None:
        console.note(f"outliers: rows of a log-likelihood below {below:.6g}")
    output.report(console, empty)


def _quantile(path: str, metadata: dict[str, Any], share: float) -> float:
    """The log-likelihood that this share of the rows of the fit lies below."""
    from gmmcli.model.scores import Scores

    if "scores" not in metadata:
        raise InputError(f"{printable(path)}: it does not say how its rows scored: fit it anew for --quantile")
    try:
        return Scores.from_json(metadata["scores"]).quantile(share)
    except InputError as error:
        raise InputError(f"{printable(path)}: {error}: fit it anew for --quantile") from None


def _summarise(mixture: GaussianMixture, blocks: SourceBlocks, group: Group) -> dict[str, Any]:
    """The sums over all rows: log-likelihoods in nats, N the total weight."""
    import torch

    from gmmcli.passes.workers import map_blocks, single_intra_op_thread

    def sums(block: Block) -> list[float]:
        with torch.inference_mode():  # which is a matter of each thread
            log_prob, entropy = mixture.log_prob_and_entropy(block.x, marginal=True)
            w = torch.ones_like(log_prob) if block.weights is None else block.weights
            return [float(w.sum()), float(w @ log_prob), float(w @ entropy)]

    with single_intra_op_thread():
        parts = torch.tensor([*map_blocks(sums, blocks, threads_here())], dtype=torch.float64).reshape(-1, 3)
    rows, dropped = sums_over(group, blocks.rows_read, blocks.rows_dropped)
    weight = total = entropy = 0.0
    for part in group.joined(parts).tolist():  # in the order of the data, so that the sums' bits are the same
        weight, total, entropy = weight + part[0], total + part[1], entropy + part[2]
    blocks.check_rows(rows, rows - dropped, weight)
    count = mixture.parameter_count
    return {
        "rows": rows - dropped,
        "rows_left_out": dropped,
        "total_weight": weight,
        "parameters": count,
        "log_likelihood": total,
        "mean_log_likelihood": total / weight,
        "aic": criteria.aic(total, count),
        "bic": criteria.bic(total, count, weight),
        "icl": criteria.icl(total, count, weight, entropy),
    }
