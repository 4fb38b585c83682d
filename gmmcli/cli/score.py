"""`gmm score`: the log-likelihood of every row, or of all of them together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmmcli.cli import console as out
from gmmcli.cli import options
from gmmcli.cli.completion import column
from gmmcli.cli.console import Console
from gmmcli.cli.files import rows_not_over
from gmmcli.cli.models import column_names, open_model
from gmmcli.cli.options import DATA, OUTPUT, REPORT
from gmmcli.cli.processes import group_of, library_imports, refuse_stdin, sums_over, threads_here
from gmmcli.cli.rows import RowOutput, add_columns, as_read, open_output
from gmmcli.errors import InputError, Option, UsageError
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

Summary = Annotated[
    bool, OUTPUT("", "Instead of the rows: their number, total and mean log-likelihood, AIC, BIC and ICL.")
]
Quantile = Annotated[
    float | None,
    OUTPUT(
        "Q",
        "Add a column outlier too: 1 for a row whose log-likelihood is below that of this share, between 0 "
        "and 1, of the rows that were fitted, else 0. Default: no such column.",
        above=0,
        below=1,
    ),
]
Weights = Annotated[
    str | None,
    DATA(
        "COLUMN",
        "With --summary: column of row weights, not negative. Default: every row weighs 1.",
        suggestions=column,
    ),
]
Json = Annotated[bool, REPORT("", "Print the sums of --summary as JSON on standard output.")]


def score(
    context: typer.Context,
    *,
    model: options.Model,
    data: options.Data = None,
    summary: Summary = False,
    quantile: Quantile = None,
    output: options.RowsOutput = None,
    output_format: options.OutputFormat = None,
    prefix: options.Prefix = "",
    weights: Weights = None,
    missing: options.MissingCells = "error",
    reading: options.Reading,
    memory: options.Memory,
    json: Json = False,
    common: options.Common,
) -> None:
    """Adds to each row its log-likelihood under the model, in nats, or sums it up.

    Columns are matched to the model by name. Rows, their order and all other
    columns stay as they are.
    """
    with library_imports():
        from gmmcli.data import Source
        from gmmcli.passes.block import Share

    of_rows = {"output": output, "output_format": output_format, "prefix": prefix or None, "quantile": quantile}
    for name, value in (of_rows if summary else {"json": json or None, "weights": weights}).items():
        if value is not None:
            problem = f"{'does not apply' if summary else 'applies only'} with --summary"
            raise UsageError(problem, subject=Option(name))
    group = group_of(context)
    refuse_stdin(data, group)
    read_options = reading.options()
    rows = None if summary else open_output(output, output_format, read_options, group)
    mixture, metadata = open_model(model)
    source = Source(data or [], read_options, scratch=memory.scratch(place().local_size))
    rows_not_over(output, model, source.paths)
    console = Console(common.quiet or group.rank > 0)
    if rows is not None:
        below = None if quantile is None else _quantile(model, metadata, quantile)
        _add_scores(source, mixture, rows, prefix, below, missing, console)
        return
    share = Share(group.rank, group.size)
    blocks = source.blocks(source.match(column_names(mixture)), weights, as_read(missing), share)
    report = _summarise(mixture, blocks, group)
    if group.rank > 0:
        return
    if json:
        out.write_json({"model": masked(model), "data": source.label, **report})
        return
    out.write(out.Table(["", ""], [(name.replace("_", " "), f"{v:.10g}") for name, v in report.items()]))


def _add_scores(
    source: Source,
    mixture: GaussianMixture,
    output: RowOutput,
    prefix: str,
    below: float | None,
    missing: options.MISSING_CHOICES,
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
    """The log-likelihood below which this share of the rows of the fit lies."""
    from gmmcli.model.scores import Scores

    remedy = "fit it anew for --quantile"
    if "scores" not in metadata:
        raise InputError("it does not say how its rows scored", subject=printable(path), remedy=remedy)
    try:
        return Scores.from_json(metadata["scores"]).quantile(share)
    except InputError as error:
        raise InputError(str(error), subject=printable(path), remedy=remedy) from None


def _summarise(mixture: GaussianMixture, blocks: SourceBlocks, group: Group) -> dict[str, Any]:
    """The sums over all rows: log-likelihoods in nats, N the total weight."""
    import torch

    from gmmcli.passes.workers import map_blocks, single_intra_op_thread

    def sums(block: Block) -> list[float]:
        with torch.inference_mode():  # a setting of each thread
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
    bic = -2 * total + count * math.log(weight)
    return {
        "rows": rows - dropped,
        "rows_left_out": dropped,
        "total_weight": weight,
        "parameters": count,
        "log_likelihood": total,
        "mean_log_likelihood": total / weight,
        "aic": -2 * total + 2 * count,
        "bic": bic,
        "icl": bic + 2 * entropy,
    }
