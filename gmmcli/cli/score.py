"""`gmm score`: the log-likelihood of every row, or of all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from gmmcli.cli import options
from gmmcli.cli.completion import column
from gmmcli.cli.console import Table, write, write_json
from gmmcli.cli.files import column_names
from gmmcli.cli.options import DATA, OUTPUT, REPORT
from gmmcli.cli.processes import sums_over, threads_here
from gmmcli.cli.rows import Passage, add_columns, as_read, open_passage
from gmmcli.errors import InputError, Option, UsageError
from gmmcli.model import criteria
from gmmcli.storage.names import masked, printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.passes.block import Block

EXAMPLES = """\
$ gmm score faithful.pt sample_data/faithful.csv -o scored.parquet

$ gmm score penguins.pt sample_data/penguins.csv --missing drop --summary --json

$ gmm score faithful.pt sample_data/faithful.csv --quantile 0.01 -o marked.csv"""


def score(
    context: typer.Context,
    *,
    model: options.Model,
    data: options.Data = None,
    summary: bool = OUTPUT.field(
        False, "", "Instead of the rows: their number, total and mean log-likelihood, AIC, BIC and ICL."
    ),
    quantile: float | None = OUTPUT.field(
        None,
        "Q",
        "Add a column outlier too: 1 for a row whose log-likelihood is below that of this share, between 0 "
        "and 1, of the rows that were fitted, else 0. Default: no such column.",
        above=0,
        below=1,
    ),
    writing: options.Writing,
    weights: str | None = DATA.field(
        None,
        "COLUMN",
        "With --summary: column of row weights, not negative. Default: every row weighs 1.",
        suggestions=column,
    ),
    missing: options.MissingCells = "error",
    reading: options.ReadOptions,
    memory: options.Memory,
    json: bool = REPORT.field(False, "", "Print the sums of --summary as JSON on standard output."),
    common: options.Common,
) -> None:
    """Adds to each row its log-likelihood under the model, in nats, or sums it up.

    Columns are matched to the model by name. Rows, their order and all other
    columns stay as they are.
    """
    of_rows = {"output": writing.output, "output_format": writing.output_format, "prefix": writing.prefix or None}
    of_rows |= {"quantile": quantile}
    for name, value in (of_rows if summary else {"json": json or None, "weights": weights}).items():
        if value is not None:
            problem = f"{'does not apply' if summary else 'applies only'} with --summary"
            raise UsageError(problem, subject=Option(name))
    passage = open_passage(context, model, data, None if summary else writing, reading, memory, common)
    if passage.output is not None:
        below = None if quantile is None else _quantile(model, passage.metadata, quantile)
        names = ["log_likelihood", *([] if below is None else ["outlier"])]

        def compute(x: Tensor) -> Sequence[Tensor]:
            scores = passage.model.log_prob(x, marginal=missing == "em")
            return [scores] if below is None else [scores, (scores < below).long()]

        empty = add_columns(passage, [writing.prefix + name for name in names], compute, missing)
        if below is not None:
            passage.console.note(f"outliers: rows of a log-likelihood below {below:.6g}")
        passage.output.report(passage.console, empty)
        return
    report = _summarise(passage, weights, missing)
    if json and passage.group.rank == 0:
        write_json({"model": masked(model), "data": passage.source.label, **report})
    elif passage.group.rank == 0:
        write(Table(["", ""], [(name.replace("_", " "), f"{v:.10g}") for name, v in report.items()]))


def _quantile(path: str, metadata: dict[str, Any], share: float) -> float:
    """Quantile of the log-likelihood over the rows of the fit: this share of them lies below it."""
    from gmmcli.model.scores import Scores

    remedy = "fit it anew for --quantile"
    if "scores" not in metadata:
        raise InputError("it does not say how its rows scored", subject=printable(path), remedy=remedy)
    try:
        return Scores.from_json(metadata["scores"]).quantile(share)
    except InputError as error:
        raise InputError(error.notice.problem, subject=printable(path), remedy=remedy) from None


def _summarise(passage: Passage, weights: str | None, missing: options.MISSING_CHOICES) -> dict[str, Any]:
    """The sums over all rows: log-likelihoods in nats, N the total weight."""
    import torch

    from gmmcli.passes.block import Share
    from gmmcli.passes.reading import Collected, Reading, drive, read

    mixture, source, group = passage.model, passage.source, passage.group
    columns, share = source.match(column_names(mixture)), Share(group.rank, group.size)
    blocks = source.blocks(columns, weights, as_read(missing), share)

    def sums(block: Block) -> list[float]:
        with torch.inference_mode():  # a setting of each thread
            log_prob, entropy = mixture.log_prob_and_entropy(block.x, marginal=True)
            w = torch.ones_like(log_prob) if block.weights is None else block.weights
            return [float(w.sum()), float(w @ log_prob), float(w @ entropy)]

    reading = Reading(partial(Collected, sums), blocks)
    parts = torch.tensor(drive(read(reading), threads_here()), dtype=torch.float64).reshape(-1, 3)
    rows, dropped = sums_over(group, blocks.rows_read, blocks.rows_dropped)
    weight = total = entropy = 0.0
    for part in group.joined(parts).tolist():  # the order of the data keeps the bits of the sums
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
